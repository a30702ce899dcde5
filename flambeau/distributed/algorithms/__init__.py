"""Ways of training on many processes."""
