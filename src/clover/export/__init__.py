"""A checkpoint as graphs that run without this package: ONNX and torch.export."""
