"""The parts of `utils.benchmark`, at PyTorch's paths."""
