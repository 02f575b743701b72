"""The ONNX graph: bytes to a checked, normalised model, and how to look at it."""
