"""Attention with linear layers of its own for queries, keys and values, each of which can be observed."""

import warnings

import flambeau
import flambeau.nn.functional as F
from flambeau import ao, nn

__all__ = ["MultiheadAttention"]


class MultiheadAttention(nn.MultiheadAttention):
    """``nn.MultiheadAttention``, taken apart. Attention itself is computed in floating point."""

    _FLOAT_MODULE = nn.MultiheadAttention
    __constants__ = ["batch_first"]

    def __init__(
        self,
        embed_dim,
        num_heads,
        dropout=0.0,
        bias=True,
        add_bias_kv=False,
        add_zero_attn=False,
        kdim=None,
        vdim=None,
        batch_first=False,
        device=None,
        dtype=None,
    ):
        options = {"device": device, "dtype": dtype}
        super().__init__(
            embed_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first, **options
        )
        self.linear_Q = nn.Linear(self.embed_dim, self.embed_dim, bias=bias, **options)
        self.linear_K = nn.Linear(self.kdim, self.embed_dim, bias=bias, **options)
        self.linear_V = nn.Linear(self.vdim, self.embed_dim, bias=bias, **options)
        self.out_proj = nn.Linear(self.embed_dim, self.embed_dim, bias=bias, **options)
        self.q_scaling_product = ao.nn.quantized.FloatFunctional()
        self.quant_attn_output = ao.quantization.QuantStub()
        self.quant_attn_output_weights = ao.quantization.QuantStub()
        self.dequant_q = ao.quantization.DeQuantStub()
        self.dequant_k = ao.quantization.DeQuantStub()
        self.dequant_v = ao.quantization.DeQuantStub()

    def _get_name(self):
        return "QuantizableMultiheadAttention"

    @classmethod
    def from_float(cls, other):
        """The module that computes what ``other`` does, with observers."""
        if type(other) is not cls._FLOAT_MODULE:
            raise AssertionError(f"Expected type {cls._FLOAT_MODULE}, got {type(other)}")
        if not hasattr(other, "qconfig"):
            raise AssertionError("The float module must have 'qconfig'")
        made = cls(
            other.embed_dim,
            other.num_heads,
            other.dropout,
            other.in_proj_bias is not None,
            other.bias_k is not None,
            other.add_zero_attn,
            other.kdim,
            other.vdim,
            other.batch_first,
        )
        made.bias_k, made.bias_v = other.bias_k, other.bias_v
        made.qconfig = other.qconfig
        made.out_proj.weight, made.out_proj.bias = other.out_proj.weight, other.out_proj.bias
        width = other.embed_dim
        for i, kind in enumerate("QKV"):
            linear, rows = getattr(made, f"linear_{kind}"), slice(i * width, (i + 1) * width)
            if other._qkv_same_embed_dim:
                weight = other.in_proj_weight[rows]
                linear.weight = nn.Parameter(weight, weight.requires_grad)
            else:
                linear.weight = nn.Parameter(getattr(other, f"{kind.lower()}_proj_weight"))
            bias = other.in_proj_bias
            linear.bias = None if bias is None else nn.Parameter(bias[rows])
        made.eval()
        return ao.quantization.prepare(made, inplace=True)

    def dequantize(self):
        """The quantized module in floating point again."""
        parts = {kind: getattr(self, f"linear_{kind}")._weight_bias() for kind in "QKV"}
        made = self._FLOAT_MODULE(
            self.embed_dim,
            self.num_heads,
            self.dropout,
            parts["Q"][1] is not None,
            self.bias_k is not None,
            self.add_zero_attn,
            self.kdim,
            self.vdim,
            self.batch_first,
        )
        if made._qkv_same_embed_dim != self._qkv_same_embed_dim:
            raise AssertionError(
                f"_qkv_same_embed_dim mismatch: {made._qkv_same_embed_dim} != {self._qkv_same_embed_dim}"
            )
        for name in ("bias_k", "bias_v"):
            if getattr(self, name) is not None:
                setattr(made, name, nn.Parameter(getattr(self, name).dequantize()))
        weight, bias = self.out_proj._weight_bias()
        made.out_proj.weight = nn.Parameter(weight.dequantize())
        if bias is not None:
            made.out_proj.bias = nn.Parameter(bias)
        for i, (kind, (weight, bias)) in enumerate(parts.items()):
            rows = slice(i * made.embed_dim, (i + 1) * made.embed_dim)
            if made._qkv_same_embed_dim:
                made.in_proj_weight[rows, :] = weight.dequantize()
            else:
                setattr(made, f"{kind.lower()}_proj_weight", nn.Parameter(weight.dequantize()))
            if made.in_proj_bias is not None:
                if made._qkv_same_embed_dim and not all(bias == 0):
                    raise AssertionError(f"Expected all b{kind} elements to be 0")
                made.in_proj_bias[rows] = bias
        return made

    @classmethod
    def from_observed(cls, other):
        """Not here: from floating point this class leads to an observed module only."""
        raise NotImplementedError(
            "It looks like you are trying to prepare an MHA module. Please, see the examples on quantizable MHAs."
        )

    def forward(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights=True,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ):
        return self._forward_impl(
            query, key, value, key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal
        )

    def _forward_impl(
        self,
        query,
        key,
        value,
        key_padding_mask=None,
        need_weights=True,
        attn_mask=None,
        average_attn_weights=True,
        is_causal=False,
    ):
        if attn_mask is not None and is_causal:
            raise AssertionError("Only allow causal mask or attn_mask")
        if is_causal:
            raise AssertionError("causal mask not supported by AO MHA module")
        if self.batch_first:
            query, key, value = (x.transpose(0, 1) for x in (query, key, value))
        targets, batch, width = query.size()
        if self.embed_dim != width:
            raise AssertionError(f"embed_dim mismatch: {self.embed_dim} != {width}")
        if key.size(0) != value.size(0) or key.size(1) != value.size(1):
            raise AssertionError(f"key and value size mismatch: key.size()={key.size()}, value.size()={value.size()}")
        head = self.embed_dim // self.num_heads
        if head * self.num_heads != self.embed_dim:
            raise AssertionError("embed_dim must be divisible by num_heads")
        q, k, v = self.linear_Q(query), self.linear_K(key), self.linear_V(value)
        q = self.q_scaling_product.mul_scalar(q, float(head) ** -0.5)
        heads = batch * self.num_heads
        attn_mask = _checked_mask(attn_mask, heads, query.size(0), key.size(0))
        if key_padding_mask is not None and key_padding_mask.dtype == flambeau.uint8:
            _warn_of_bytes("key_padding_mask")
            key_padding_mask = key_padding_mask.to(flambeau.bool)
        longer = 0  # keys and values beyond those of the source
        if self.bias_k is not None and self.bias_v is not None:
            k = flambeau.cat([k, self.bias_k.repeat(1, batch, 1)])
            v = flambeau.cat([v, self.bias_v.repeat(1, batch, 1)])
            longer += 1
        elif self.bias_k is not None:
            raise AssertionError("self.bias_k must be None when self.bias_v is None")
        elif self.bias_v is not None:
            raise AssertionError("self.bias_v must be None when self.bias_k is None")
        q = q.contiguous().view(targets, heads, head).transpose(0, 1)
        k, v = (x.contiguous().view(-1, heads, head).transpose(0, 1) for x in (k, v))
        if key_padding_mask is not None:
            if key_padding_mask.size(0) != batch:
                raise AssertionError(f"key_padding_mask.size(0) must be {batch}, got {key_padding_mask.size(0)}")
            if key_padding_mask.size(1) + longer != k.size(1):
                raise AssertionError(
                    f"key_padding_mask.size(1) must be {k.size(1)}, got {key_padding_mask.size(1) + longer}"
                )
        if self.add_zero_attn:
            k, v = _with_zeros(k), _with_zeros(v)
            longer += 1
        if longer:
            attn_mask, key_padding_mask = (
                m if m is None else F.pad(m, (0, longer)) for m in (attn_mask, key_padding_mask)
            )
        q, k, v = self.dequant_q(q), self.dequant_k(k), self.dequant_v(v)
        weights = flambeau.bmm(q, k.transpose(1, 2))
        if attn_mask is not None:
            if attn_mask.dtype == flambeau.bool:
                weights.masked_fill_(attn_mask, float("-inf"))
            else:
                weights += attn_mask
        if key_padding_mask is not None:
            by_head = weights.view(batch, self.num_heads, targets, -1)
            by_head = by_head.masked_fill(key_padding_mask.unsqueeze(1).unsqueeze(2), float("-inf"))
            weights = by_head.view(heads, targets, -1)
        weights = F.dropout(F.softmax(weights, dim=-1), p=self.dropout, training=self.training)
        output = flambeau.bmm(weights, v)
        if self.batch_first:
            output = output.view(batch, targets, self.embed_dim)
        else:
            output = output.transpose(0, 1).contiguous().view(targets, batch, self.embed_dim)
        output = self.out_proj(self.quant_attn_output(output))
        weights = self.quant_attn_output_weights(weights)
        if not need_weights:
            return output, None
        weights = weights.view(batch, self.num_heads, targets, -1)
        return output, weights.mean(dim=1) if average_attn_weights else weights


def _warn_of_bytes(name):
    warnings.warn(
        f"Byte tensor for `{name}` in `nn.MultiheadAttention` is deprecated. Use bool tensor instead.", stacklevel=5
    )


def _checked_mask(mask, heads, targets, sources):
    """A mask of attention with a dimension of heads."""
    if mask is None:
        return None
    if mask.dtype == flambeau.uint8:
        _warn_of_bytes("attn_mask")
        mask = mask.to(flambeau.bool)
    if not mask.is_floating_point() and mask.dtype != flambeau.bool:
        raise AssertionError(f"Only float and bool types are supported for attn_mask, not {mask.dtype}")
    if mask.dim() == 2:
        mask = mask.unsqueeze(0)
        if list(mask.size()) != [1, targets, sources]:
            raise RuntimeError("The size of the 2D attn_mask is not correct.")
    elif mask.dim() != 3:
        raise RuntimeError(f"attn_mask's dimension {mask.dim()} is not supported")
    elif list(mask.size()) != [heads, targets, sources]:
        raise RuntimeError("The size of the 3D attn_mask is not correct.")
    return mask


def _with_zeros(x):
    """Keys or values, and one more of zeros."""
    zeros = flambeau.zeros((x.size(0), 1, *x.size()[2:]))
    if x.is_quantized:
        zeros = flambeau.quantize_per_tensor(zeros, x.q_scale(), x.q_zero_point(), x.dtype)
    return flambeau.cat([x, zeros], dim=1)
