"""Training of the text detectors: made crops, the network as PyTorch runs it, and weights back into the ONNX graph."""
