"""The private home of `torch.func`, where other libraries reach parts of it."""
