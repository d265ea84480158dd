"""What TensorRT made of a network: its engine inspector's report joined with the ONNX nodes, the scales and the times."""
