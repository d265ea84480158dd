"""CUDA memory and the counting that is done where it lies."""
