"""What the constructors of modules take, of another module: so that one is made like it."""


def of_conv(conv):
    """What makes a convolution."""
    return (
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        conv.bias is not None,
        conv.padding_mode,
    )


def of_conv_transpose(conv):
    """What makes a transposed convolution."""
    return (
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.output_padding,
        conv.groups,
        conv.bias is not None,
        conv.dilation,
        conv.padding_mode,
    )
