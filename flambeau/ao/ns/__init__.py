"""Numeric suite: a quantized model beside the float one it was made of, layer by layer."""
