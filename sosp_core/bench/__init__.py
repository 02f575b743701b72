"""Measure two models against each other under ONNX Runtime."""
