"""Everything that comes in and goes out: sources, sinks and the file formats."""
