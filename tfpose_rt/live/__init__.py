"""Cameras and streams seen now: the window, the browser page, takes and snapshots."""
