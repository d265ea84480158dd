"""FP32 beside INT8: task metrics, tensor errors, latency."""
