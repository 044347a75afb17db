"""Work on whole files and installations: batches, recordings, benchmarks, examinations."""
