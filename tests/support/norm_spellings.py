"""Every way of writing one channel LayerNorm, as ONNX text of the tensor `x` (1, 4, 8, 6), giving `y`.

The weights differ between channels and epsilon is large: what leaves one of them out is seen in the values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

X_TO_Y = "(float[1, 4, 8, 6] x) => (float[1, 4, 8, 6] y)"
EPSILON = 0.1
SCALE = np.array([0.5, -1.25, 2.0, 1.5], np.float32)
SHIFT = np.array([0.25, 1.0, -0.75, 0.125], np.float32)
NUMBERS = {
    "axes": np.array([1]), "rows_axes": np.array([-1]), "two": np.float32(2), "one": np.float32(1),
    "kept": np.array([1, 1, 8, 6]), "half": np.float32(0.5), "minus_half": np.float32(-0.5), "eps": np.float32(EPSILON),
}  # fmt: skip
ONE_SUB = "m = ReduceMean(x, axes) c = Sub(x, m)"
POWER = "s = Pow(c, two)"
ROOT = "r = Sqrt(e) n = Div(c, r)"
BOTH = "a = Mul(n, w) y = Add(a, b)"


@dataclass(frozen=True)
class Spelling:
    """The body of a network, its constants, its opset, and what the norm leaves out."""

    body: str
    opset: int = 20
    scale: bool = True
    shift: bool = True
    shape: tuple[int, ...] = (1, 4, 1, 1)
    constants: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return f"{X_TO_Y} {{ {self.body} }}"

    @property
    def weights(self) -> dict[str, Any]:
        """The constants that the body reads."""
        named = {**NUMBERS, "w": SCALE.reshape(self.shape), "b": SHIFT.reshape(self.shape), **self.constants}
        words = self.body.replace("(", " ").replace(")", " ").replace(",", " ").split()
        return {name: value for name, value in named.items() if name in words}

    def expected(self, x: np.ndarray) -> np.ndarray:
        """The norm of x (1, 4, H, W) in fp64."""
        x = x.astype(np.float64)
        normal = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + EPSILON)
        scaled = normal * SCALE.reshape(1, 4, 1, 1) if self.scale else normal
        return scaled + SHIFT.reshape(1, 4, 1, 1) if self.shift else scaled


def plain(centred: str = ONE_SUB, square: str = POWER, normal: str = ROOT, affine: str = BOTH, **rest: Any) -> Spelling:
    """A norm in single ops."""
    mean = "v = ReduceMean<keepdims = 1>(s, axes) e = Add(v, eps)"
    return Spelling(f"{centred} {square} {mean} {normal} {affine}", **rest)


def rows(there: str, inside: str, back: str, **rest: Any) -> Spelling:
    """A norm of the last axis, between two transposes."""
    body = f"t = Transpose<perm = [{there}]>(x) {inside} y = Transpose<perm = [{back}]>(z)"
    return Spelling(body, shape=(4,), **rest)


LAYER_NORM = f"z = LayerNormalization<axis = -1, epsilon = {EPSILON}>(t, w, b)"
ROWS = """m = ReduceMean<keepdims = 1>(t, rows_axes) c = Sub(t, m) s = Pow(c, two)
    v = ReduceMean<keepdims = 1>(s, rows_axes) e = Add(v, eps) r = Sqrt(e) n = Div(c, r) a = Mul(n, w) z = Add(a, b)"""

IN_SINGLE_OPS = {
    "as the official NAFNet": plain(),
    "square as a product": plain(square="s = Mul(c, c)"),
    "epsilon first": plain(normal=ROOT).__class__(plain().body.replace("Add(v, eps)", "Add(eps, v)")),
    "two subs": plain(f"{ONE_SUB} d = Sub(x, m)", "s = Pow(d, two)"),
    "two subs, a product": plain(f"{ONE_SUB} d = Sub(x, m)", "s = Mul(d, d)"),
    "three subs": plain(f"{ONE_SUB} d = Sub(x, m) f = Sub(x, m)", "s = Mul(d, f)"),
    "two subs in one product": plain(f"{ONE_SUB} d = Sub(x, m)", "s = Mul(d, c)"),
    "two means": plain(f"{ONE_SUB} o = ReduceMean(x, axes) d = Sub(x, o)", "s = Pow(d, two)"),
    "variance of torch": Spelling(plain().body.replace(
        "v = ReduceMean<keepdims = 1>(s, axes)", "l = ReduceMean<keepdims = 0>(s, axes) v = Reshape(l, kept)")),
    "variance of torch, unsqueezed": Spelling(plain().body.replace(
        "v = ReduceMean<keepdims = 1>(s, axes)", "l = ReduceMean<keepdims = 0>(s, axes) v = Unsqueeze(l, axes)")),
    "power of -1/2": plain(normal="r = Pow(e, minus_half) n = Mul(c, r)"),
    "power of 1/2": plain(normal="r = Pow(e, half) n = Div(c, r)"),
    "reciprocal of the root": plain(normal="q = Sqrt(e) r = Reciprocal(q) n = Mul(r, c)"),
    "root of the reciprocal": plain(normal="q = Reciprocal(e) r = Sqrt(q) n = Mul(c, r)"),
    "one over the root": plain(normal="q = Sqrt(e) r = Div(one, q) n = Mul(c, r)"),
    "two subs, one over the root": plain(
        f"{ONE_SUB} d = Sub(x, m)", "s = Mul(d, d)", "q = Sqrt(e) r = Div(one, q) n = Mul(c, r)"
    ),
    "weights without the batch": plain(shape=(4, 1, 1)),
    "weights first": plain(affine="a = Mul(w, n) y = Add(b, a)"),
    "bare": plain(normal="r = Sqrt(e) y = Div(c, r)", affine="", scale=False, shift=False),
    "bare, power of -1/2": plain(normal="r = Pow(e, minus_half) y = Mul(c, r)", affine="", scale=False, shift=False),
    "scale alone": plain(affine="y = Mul(n, w)", shift=False),
    "shift alone": plain(affine="y = Add(n, b)", scale=False),
    "axes as attributes": Spelling(
        plain().body.replace("ReduceMean(x, axes)", "ReduceMean<axes = [1]>(x)").replace(
            "ReduceMean<keepdims = 1>(s, axes)", "ReduceMean<axes = [-3]>(s)"
        ),
        opset=13,
    ),
}  # fmt: skip
LAYER_NORMALIZATION = {
    "permuted": rows("0, 2, 3, 1", LAYER_NORM, "0, 3, 1, 2"),
    "width first": rows("0, 3, 2, 1", LAYER_NORM, "0, 3, 2, 1"),
    "last axis from the front": rows("0, 2, 3, 1", LAYER_NORM.replace("-1", "3"), "0, 3, 1, 2"),
    "permuted, no shift": rows("0, 2, 3, 1", LAYER_NORM.replace(", b", ""), "0, 3, 1, 2", shift=False),
    "width first, no shift": rows("0, 3, 2, 1", LAYER_NORM.replace(", b", ""), "0, 3, 2, 1", shift=False),
}
ROWS_IN_SINGLE_OPS = {
    "rows in single ops": rows("0, 2, 3, 1", ROWS, "0, 3, 1, 2"),
    "rows in single ops, variance of torch": rows(
        "0, 2, 3, 1",
        ROWS.replace(
            "v = ReduceMean<keepdims = 1>(s, rows_axes)",
            "l = ReduceMean<keepdims = 0>(s, rows_axes) v = Unsqueeze(l, rows_axes)",
        ),
        "0, 3, 1, 2",
    ),
    "rows in single ops, width first": rows("0, 3, 2, 1", ROWS, "0, 3, 2, 1"),
}
SPELLINGS = {**IN_SINGLE_OPS, **LAYER_NORMALIZATION, **ROWS_IN_SINGLE_OPS}

INSTANCE = plain().body.replace("axes", "image")
OTHER_NORMS = {
    "instance norm": Spelling("y = InstanceNormalization(x, w, b)", shape=(4,)),
    "instance norm in single ops": Spelling(INSTANCE, constants={"image": np.array([2, 3])}),
    "batch norm": Spelling(
        "y = BatchNormalization(x, w, b, mu, var)",
        shape=(4,),
        constants={"mu": np.zeros(4, np.float32), "var": np.ones(4, np.float32)},
    ),
    "group norm": Spelling("y = GroupNormalization<num_groups = 1>(x, w, b)", opset=21, shape=(4,)),
    "rms norm": plain("c = Identity(x)", "s = Mul(x, x)", "r = Sqrt(e) n = Div(x, r)"),
    "norm over the image too": Spelling(
        "y = LayerNormalization<axis = 1>(x, w, b)",
        constants={"w": np.full((4, 8, 6), 2, np.float32), "b": np.zeros((4, 8, 6), np.float32)},
    ),
    "mean of another axis": Spelling(
        plain().body.replace("v = ReduceMean<keepdims = 1>(s, axes)", "v = ReduceMean<keepdims = 1>(s, image)"),
        constants={"image": np.array([2, 3])},
    ),
    "cube": plain(square="s = Pow(c, three)", constants={"three": np.float32(3)}),
    "root of a third": plain(normal="r = Pow(e, third) n = Div(c, r)", constants={"third": np.float32(1 / 3)}),
    "square of another mean": plain(f"{ONE_SUB} o = ReduceMean(x, axes) d = Sub(x, o) f = Sub(o, x)", "s = Mul(d, f)"),
    "two over the root": plain(normal="q = Sqrt(e) r = Div(two, q) n = Mul(c, r)"),
    "columns as channels": rows("0, 1, 3, 2", LAYER_NORM.replace("w, b", "h, k"), "0, 1, 3, 2", constants={
        "h": np.full(8, 2, np.float32), "k": np.zeros(8, np.float32)}),
}  # fmt: skip
