"""The Python-written functions of nn.functional, by subject; `nn/functional.py` gathers them."""
