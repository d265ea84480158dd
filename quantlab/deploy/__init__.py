"""Bundles that leave quantlab: a Triton model repository, a folder that builds its plan on the target, one for ONNX Runtime."""
