"""ONNX Runtime as the referee: sessions, and looking at every tensor of a run."""
