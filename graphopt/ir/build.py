"""The builders with which the authors of passes make fragments: of what is deployed, and of what trains."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
from numpy.typing import ArrayLike, NDArray

from graphopt.errors import GraphoptError
from graphopt.ir.fragments import Fragment
from graphopt.ir.sites import Site
from graphopt.ir.statistics import SiteStatistics, Statistics
from graphopt.ir.view import GraphView


class Build:
    """Builds the fragment of one candidate. Every op is an ONNX op of the host graph's opset.

    Names are `SITE@PASS/OP`, so that two candidates never share a name. Weights made with `parameter` are trained.
    `statistics` holds what the calibration images say of the tensors at the site.
    """

    def __init__(self, site: Site, pass_name: str, graph: GraphView, statistics: Statistics | None):
        self._statistics = statistics
        self._prefix = f"{site.name}@{pass_name}"
        self._site = site
        self._host = graph.tensors
        self._nodes = graph.nodes
        self._stand_ins: dict[str, gs.Variable] = {}
        self._taken: Counter[str] = Counter()
        self._used: set[str] = set()
        dtypes = {self._host[name].dtype for name in site.inputs.values()}
        self._float = np.float64 if np.dtype(np.float64) in dtypes else np.float32  # fp64 where a rewrite is checked
        self.fragment = Fragment()

    def input(self, role: str) -> gs.Variable:
        """The host tensor that the site calls `role`."""
        if role not in self._site.inputs:
            known = ", ".join(self._site.inputs)
            raise GraphoptError(f"{self._prefix}: the site has no input '{role}'; it has {known}")
        return self.host(self._site.inputs[role])

    def host(self, name: str) -> gs.Variable:
        """A stand-in for the tensor `name` of the host graph; a constant of the host comes as a copy."""
        if name not in self._stand_ins:
            tensor = self._host[name]
            if isinstance(tensor, gs.Constant):
                return self._alike(name, tensor.values)
            self._stand_ins[name] = gs.Variable(name, tensor.dtype, tensor.shape)
        return self._stand_ins[name]

    def values(self, role: str) -> NDArray[np.float32]:
        """The values of a constant that the pattern calls `role`."""
        name = self._site.constants.get(role)
        if name is None:
            known = ", ".join(self._site.constants) or "none"
            raise GraphoptError(f"{self._prefix}: the site has no constant '{role}'; it has {known}")
        values: NDArray[np.float32] = self._host[name].values
        return values

    def like(self, role: str, values: ArrayLike) -> gs.Constant:
        """`values` in the place of the constant that the pattern calls `role`: trained if that one is."""
        name = self._site.constants[role]
        return self._alike(name, np.asarray(values, self._host[name].dtype))

    def _alike(self, name: str, values: NDArray[Any]) -> gs.Constant:
        stem = name.removesuffix("_fixed")
        return self._constant(stem, values, name[len(stem) :])

    def shape(self, role: str) -> tuple[int, ...]:
        """The shape of the tensor that the pattern calls `role`."""
        return tuple(self._host[self._site.tensor(role)].shape)

    def attributes(self, kind: str, constant: str | None = None) -> dict[str, Any]:
        """The attributes of the site's first node of `kind`; with `constant`, of the one that reads it."""
        wanted = None if constant is None else self._site.constants.get(constant)
        for name in self._site.nodes:
            node = self._nodes[name]
            if node.op == kind and (constant is None or wanted in [tensor.name for tensor in node.inputs]):
                return dict(node.attrs)
        reading = "" if constant is None else f" that reads '{constant}'"
        raise GraphoptError(f"{self._prefix}: the site has no node of kind {kind}{reading}")

    def node_attributes(self, node: str) -> dict[str, Any]:
        """The attributes of one of the site's nodes, by its name."""
        return dict(self._node(node).attrs)

    def node_kind(self, node: str) -> str:
        """What op one of the site's nodes is, by its name."""
        return str(self._node(node).op)

    def _node(self, name: str) -> gs.Node:
        if name not in self._site.nodes:
            raise GraphoptError(f"{self._prefix}: the site has no node '{name}'; it has {', '.join(self._site.nodes)}")
        return self._nodes[name]

    @property
    def statistics(self) -> SiteStatistics:
        """Means, quantiles and fits of the site's tensors, by the names that the pattern gave them."""
        if self._statistics is None:
            raise GraphoptError(f"{self._prefix}: statistics need calibration images, and none were given")
        return SiteStatistics(self._statistics, self._site)

    def parameter(self, name: str, values: ArrayLike) -> gs.Constant:
        """A weight, trained with the network. fp32."""
        return self._constant(name, np.asarray(values, self._float))

    def constant(self, name: str, values: ArrayLike, dtype: Any = np.int64) -> gs.Constant:
        """An axis list, a size, a bound: never trained. Floats are marked by a name that ends in `_fixed`."""
        array = np.asarray(values, dtype)
        return self._constant(name, array, "" if array.dtype.kind in "iub" else "_fixed")

    def fixed(self, name: str, values: ArrayLike) -> gs.Constant:
        """Numbers that are never trained, in the network's own precision."""
        return self.constant(name, values, self._float)

    def _constant(self, name: str, values: NDArray[Any], mark: str = "") -> gs.Constant:
        constant = gs.Constant(self._unique(name, mark), values)
        self.fragment.constants.append(constant)
        return constant

    def _unique(self, name: str, mark: str = "") -> str:
        while True:
            self._taken[name] += 1
            number = "" if self._taken[name] == 1 else f"_{self._taken[name]}"
            full = f"{self._prefix}/{name}{number}{mark}"
            if full not in self._used:  # a host's own name may end in such a number
                self._used.add(full)
                return full

    def op(self, kind: str, inputs: Sequence[Any], *, outputs: int = 1, **attributes: Any) -> Any:
        """Any ONNX op. A number among the inputs becomes a constant. Returns a tensor, or a list where outputs > 1."""
        operands = [gs.Variable.empty() if x is None else self._operand(x) for x in inputs]
        made = [gs.Variable(self._unique(f"{kind.lower()}_out")) for _ in range(outputs)]  # types are inferred
        node = gs.Node(kind, self._unique(kind.lower()), attributes, operands, made)
        self.fragment.nodes.append(node)
        return made[0] if outputs == 1 else made

    def _operand(self, value: Any) -> gs.Tensor:
        return value if isinstance(value, gs.Tensor) else self.constant("value", value, self._float)

    def add(self, a: Any, b: Any) -> gs.Variable:
        return self.op("Add", [a, b])

    def mul(self, a: Any, b: Any) -> gs.Variable:
        return self.op("Mul", [a, b])

    def conv(self, x: gs.Tensor, weight: Any, bias: Any = None, **attributes: Any) -> gs.Variable:
        """`weight` (Cout, Cin/group, kh, kw), stride 1 and zero padding that keeps the size unless told otherwise."""
        kernel = weight.values.shape[2:]
        attributes.setdefault("kernel_shape", list(kernel))
        if "auto_pad" not in attributes:
            dilations = attributes.get("dilations", [1] * len(kernel))
            attributes.setdefault("pads", [d * (k - 1) // 2 for k, d in zip(kernel, dilations, strict=True)] * 2)
        return self.op("Conv", [x, weight] if bias is None else [x, weight, bias], **attributes)

    def clip(self, x: Any, low: float, high: float) -> gs.Variable:
        return self.op("Clip", [x, np.float32(low), np.float32(high)])

    def mean(self, x: Any, axes: Sequence[int]) -> gs.Variable:
        """The mean over `axes`, which stay with size 1."""
        return self.op("ReduceMean", [x, self.constant("axes", list(axes))], keepdims=1)

    def every(self, x: Any, stride: int) -> gs.Variable:
        """Every `stride`-th pixel of height and width, from the first: (N, C, ceil(H / stride), ceil(W / stride))."""
        bounds = ([0, 0], [np.iinfo(np.int64).max] * 2, [2, 3], [stride, stride])
        names = ("starts", "ends", "axes", "steps")
        return self.op("Slice", [x, *(self.constant(n, v) for n, v in zip(names, bounds, strict=True))])

    def average_pool(self, x: Any, size: int) -> gs.Variable:
        """The mean of each `size` x `size` square: (N, C, H / size, W / size)."""
        return self.op("AveragePool", [x], kernel_shape=[size, size], strides=[size, size])

    def reshape(self, x: Any, shape: Sequence[int]) -> gs.Variable:
        return self.op("Reshape", [x, self.constant("shape", list(shape))])

    def transpose(self, x: Any, order: Sequence[int]) -> gs.Variable:
        return self.op("Transpose", [x], perm=list(order))

    def split(self, x: Any, sizes: Sequence[int], axis: int = 1) -> list[gs.Variable]:
        outputs: list[gs.Variable] = self.op(
            "Split", [x, self.constant("sizes", list(sizes))], outputs=len(sizes), axis=axis
        )
        return outputs

    def concat(self, parts: Sequence[Any], axis: int = 1) -> gs.Variable:
        return self.op("Concat", list(parts), axis=axis)

    def depth_to_space(self, x: Any, block: int) -> gs.Variable:
        """PixelShuffle: (N, C*b*b, H, W) -> (N, C, H*b, W*b)."""
        return self.op("DepthToSpace", [x], blocksize=block, mode="CRD")

    def resize(self, x: Any, scale: int, mode: str = "linear") -> gs.Variable:
        """Resizes height and width by a whole factor, with half-pixel centres, as torch does."""
        scales = self.constant("scales", [1, 1, scale, scale], np.float32)
        return self.op("Resize", [x, None, scales], mode=mode, coordinate_transformation_mode="half_pixel")


class TrainingBuild(Build):
    """Builds what stands at a site while it trains. Weights of its own are dropped when it collapses.

    It must end as the deployed form: the same ops, once every fade has ended, and weights computed from weights only.
    """

    def __init__(self, site: Site, pass_name: str, view: GraphView, deployed: Fragment):
        super().__init__(site, f"{pass_name}-training", view, None)
        self._view, self._deployed = view, deployed
        self._copies: dict[str, gs.Tensor] = {}
        self.fragment.nodes += deployed.nodes
        self.fades: dict[str, float] = {}
        self.ends: dict[str, gs.Tensor] = {}

    def rewritten(self, role: str = "output") -> gs.Tensor:
        """What `rewrite` returned, with weights as the search left them."""
        return self._deployed.outputs[self._site.outputs[role]]

    def original(self, role: str = "output") -> gs.Tensor:
        """What the site computed before the rewrite, with weights of its own."""
        if not self._copies:
            for name in self._view.regions.sort(self._site.nodes):
                node = self._nodes[name]
                operands = [gs.Variable.empty() if t.is_empty() else self._copy(t) for t in node.inputs]
                made = self.op(node.op, operands, outputs=len(node.outputs), **node.attrs)
                results = made if isinstance(made, list) else [made]
                self._copies.update(zip([t.name for t in node.outputs], results, strict=True))
        return self._copies[self._site.outputs[role]]

    def _copy(self, tensor: gs.Tensor) -> gs.Tensor:
        if tensor.name in self._copies:
            return self._copies[tensor.name]
        if isinstance(tensor, gs.Constant):
            return self._alike(tensor.name, tensor.values)
        return self.host(tensor.name)

    def fade(self, first: gs.Tensor, then: gs.Tensor, share: float) -> gs.Variable:
        """lambda * first + (1 - lambda) * then, with lambda falling linearly from 1 to 0 over the first `share` of the
        fine-tuning, and 0 from there on."""
        if not 0 < share <= 1:
            raise GraphoptError(f"a fade lasts a share of the fine-tuning above 0 and up to 1, not {share}")
        weight = self.constant("fade", 1.0, self._float)
        faded: gs.Variable = self.add(then, self.mul(weight, self.op("Sub", [first, then])))
        self.fades[weight.name], self.ends[faded.name] = share, then
        return faded
