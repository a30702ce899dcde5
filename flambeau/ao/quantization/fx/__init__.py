"""Quantization of traced graphs: what `quantize_fx` is made of."""
