"""What other people's code reaches for below `torch.nested`."""
