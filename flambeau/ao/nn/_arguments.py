"""What the constructors of modules take, of another module: so that one is made like it."""


def _taken(names):
    """The attributes with these names; of the bias, whether there is one."""
    names = names.split()
    return lambda conv: tuple(conv.bias is not None if n == "bias" else getattr(conv, n) for n in names)


of_conv = _taken("in_channels out_channels kernel_size stride padding dilation groups bias padding_mode")
of_conv_transpose = _taken("in_channels out_channels kernel_size stride padding output_padding groups bias dilation padding_mode")  # fmt: skip
