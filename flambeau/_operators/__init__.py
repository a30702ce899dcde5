"""Floor 3: every operator, once. Knows no device and no Tensor."""
