"""TensorRT and TensorRT-RTX: plans are built, kept with where they come from, and run."""
