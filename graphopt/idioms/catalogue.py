"""Patterns of restoration networks that several passes, and the executor's fusions, look for."""

from __future__ import annotations

from graphopt.ir.patterns import Term, capture, const, either, op, optional, pattern, per_channel, scalar


def layer_norm_of(x: Term) -> Term:
    """Channel LayerNorm of (N, C, H, W): (x - mean) / sqrt(var + eps) [* weight] [+ bias], in either spelling."""
    return either(_decomposed_layer_norm(x), _transposed_layer_norm(x))


def _decomposed_layer_norm(x: Term) -> Term:
    """As the official NAFNet spells it. The square is Pow(., 2) or a product with itself."""
    centred = op.Sub(x, op.ReduceMean(x, axes=(1,), keepdims=1))
    square = either(op.Pow(centred, 2), op.Mul(centred, centred))
    variance = op.ReduceMean(square, axes=(1,), keepdims=1)
    normal = op.Div(centred, op.Sqrt(op.Add(variance, scalar("eps"))))
    scaled = optional(lambda y: op.Mul(y, per_channel("weight")), normal)
    return optional(lambda y: op.Add(y, per_channel("bias")), scaled)


def _transposed_layer_norm(x: Term) -> Term:
    """permute -> nn.LayerNorm(C) -> permute. The bias may be missing."""
    rows = op.Transpose(x, perm=(0, 2, 3, 1))
    with_bias = op.LayerNormalization(rows, const("weight"), const("bias"), axis=last_axis)
    without = op.LayerNormalization(rows, const("weight"), None, axis=last_axis)
    return op.Transpose(either(with_bias, without), perm=(0, 3, 1, 2))


def last_axis(value: int) -> bool:
    """the last axis"""
    return value in (-1, 3)


def simple_gate_of(x: Term) -> Term:
    """The product of the two halves of the channels."""
    return op.Mul(op.Split(x, axis=1, output=0), op.Split(x, axis=1, output=1))


def pooled(x: Term) -> Term:
    """The mean over height and width, (N, C, 1, 1)."""
    return either(op.ReduceMean(x, axes=(2, 3), keepdims=1), op.GlobalAveragePool(x))


def conv_of(x: Term, suffix: str = "", **attributes: object) -> Term:
    """A convolution with or without bias; its constants are `weight` and `bias`, with `suffix`."""
    with_bias = op.Conv(x, const(f"weight{suffix}"), const(f"bias{suffix}"), **attributes)
    return either(with_bias, op.Conv(x, const(f"weight{suffix}"), None, **attributes))


def clamped(x: Term) -> Term:
    """`x`, with the clamp of `bounded-gate` or without."""
    return optional(lambda t: op.Clip(t, const("low"), const("high")), x)


def gated_pair_of(x: Term) -> Term:
    """conv5(gate(conv4(x))): the convolutions of NAFNet's second half. The gate's result is `gated`."""
    return conv_of(capture("gated", simple_gate_of(clamped(conv_of(x, "4", group=1)))), "5", group=1)


def spatial_triple_of(x: Term) -> Term:
    """conv3(attention(gate(conv2(conv1(x))))): NAFNet's first half, attention optional. conv3 reads `carried`."""
    gated = capture("gated", simple_gate_of(clamped(conv_of(conv_of(x, "1", group=1), "2"))))
    attended = optional(lambda t: op.Mul(t, conv_of(pooled(t), "_attention", group=1)), gated)
    return conv_of(capture("carried", attended), "3", group=1)


def feed_forward_of(y: Term) -> Term:
    """y + gamma * conv5(gate(conv4(norm(y)))): the second half of a NAFNet block."""
    return op.Add(y, optional(lambda t: op.Mul(t, per_channel("gamma")), gated_pair_of(layer_norm_of(y))))


def spatial_of(x: Term) -> Term:
    """x + beta * conv3(attention(gate(conv2(conv1(norm(x)))))): the first half of a NAFNet block."""
    return op.Add(x, optional(lambda t: op.Mul(t, per_channel("beta")), spatial_triple_of(layer_norm_of(x))))


@pattern
def channel_layer_norm(x: Term) -> Term:
    return layer_norm_of(x)


@pattern
def channel_attention(x: Term) -> Term:
    """x * conv1x1(pool(x)): NAFNet's simplified channel attention."""
    return op.Mul(x, capture("attention", conv_of(pooled(x), group=1)))


@pattern
def gate(x: Term) -> Term:
    return simple_gate_of(x)


@pattern
def pixel_shuffle_upsample(x: Term) -> Term:
    """1x1 conv + PixelShuffle(2)."""
    plain = conv_of(x, kernel_shape=(1, 1), group=1, strides=(1, 1), pads=(0, 0, 0, 0))
    return op.DepthToSpace(plain, blocksize=2, mode="CRD")
