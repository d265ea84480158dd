"""An FP32 engine and batches in, a histogram a tensor out."""
