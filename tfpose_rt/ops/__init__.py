"""Deformable attention: reference, operator, CPU path, CUDA kernel. Imports torch and numpy only."""
