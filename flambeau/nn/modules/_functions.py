"""The identity node that stands before and behind a module with full backward hooks."""

from flambeau.autograd import Function


class BackwardHookFunction(Function):
    """Identity in both directions; exists so that a hook can be put on its node."""

    @staticmethod
    def forward(ctx, *args):
        ctx.mark_non_differentiable(*(arg for arg in args if not arg.requires_grad))
        return args

    @staticmethod
    def backward(ctx, *args):
        return args


class CrossMapLRN2d(Function):
    """Local response normalisation across channels, with the window sums of the original implementation.

    Its windows do not let go of channel 0 once they have moved past it; the sums here keep that.
    """

    @staticmethod
    def forward(ctx, input, size, alpha=1e-4, beta=0.75, k=1):
        if input.dim() != 4:
            raise ValueError(f"CrossMapLRN2d: Expected input to be 4D, got {input.dim()}D instead.")
        reach, channels = int((size - 1) / 2 + 1), input.size(1)
        squares = input.pow(2)
        sums = squares.cumsum(1)
        scale = squares.new_empty(squares.shape)
        for c in range(channels):
            scale[:, c] = sums[:, min(c + reach, channels) - 1]
            if c > reach:
                scale[:, c] -= sums[:, c - reach] - squares[:, 0]
        scale.mul_(alpha / size).add_(k)
        out = scale.pow(-beta) * input
        ctx.save_for_backward(input, out, scale)
        ctx.size, ctx.alpha, ctx.beta = size, alpha, beta
        return out

    @staticmethod
    def backward(ctx, grad):
        input, out, scale = ctx.saved_tensors
        n, channels, h, w = input.shape
        ratio = input.new_zeros(n, channels + ctx.size - 1, h, w)
        ratio.narrow(1, int(ctx.size - (ctx.size - 1) / 2), channels).copy_(grad * out / scale)
        window = ratio.unfold(1, ctx.size, 1).sum(-1)
        into = scale.pow(-ctx.beta) * grad - 2 * ctx.alpha * ctx.beta / ctx.size * input * window
        return into, None, None, None, None
