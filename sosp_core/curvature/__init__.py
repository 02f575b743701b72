"""Derivatives of a mean loss with respect to few variables; knows nothing of ONNX."""
