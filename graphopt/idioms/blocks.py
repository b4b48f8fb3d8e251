"""NAFNet's blocks (arXiv 2204.04676), made of norm, gate, attention and convolutions."""

from __future__ import annotations

from graphopt.idioms.attention import pooled
from graphopt.idioms.convolutions import conv_of
from graphopt.idioms.gates import clamped, gate_of
from graphopt.idioms.norms import layer_norm_of
from graphopt.ir.patterns import Term, capture, op, optional, per_channel


def gated_pair_of(x: Term) -> Term:
    """conv5(gate(conv4(x))): the convolutions of the second half. The gate's result is captured as `gated`."""
    return conv_of(capture("gated", gate_of(clamped(conv_of(x, "4", group=1)))), "5", group=1)


def spatial_triple_of(x: Term) -> Term:
    """conv3(attention(gate(conv2(conv1(x))))): the first half, attention optional. conv3 reads `carried`."""
    gated = capture("gated", gate_of(clamped(conv_of(conv_of(x, "1", group=1), "2"))))
    attended = optional(lambda t: op.Mul(t, conv_of(pooled(t), "_attention", group=1)), gated)
    return conv_of(capture("carried", attended), "3", group=1)


def feed_forward_of(y: Term) -> Term:
    """y + gamma * conv5(gate(conv4(norm(y)))): the second half of a block."""
    return op.Add(y, optional(lambda t: op.Mul(t, per_channel("gamma")), gated_pair_of(layer_norm_of(y))))


def spatial_of(x: Term) -> Term:
    """x + beta * conv3(attention(gate(conv2(conv1(norm(x)))))): the first half of a block."""
    return op.Add(x, optional(lambda t: op.Mul(t, per_channel("beta")), spatial_triple_of(layer_norm_of(x))))
