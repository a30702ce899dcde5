"""`torch.cuda.sparse`: nothing is public here, in PyTorch neither."""
