"""Prices at the precision that will be deployed: which graphs a backend is given, and what an NPU makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from graphs import onnx_model
from npu import needs_compiler
from priced_space import CLEANUPS, priced_space

from graphopt.backends.onnxruntime.backend import OnnxRuntimeBackend
from graphopt.backends.precision import InPrecision
from graphopt.backends.qnn.quantised import precision_of_price
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.record import NetworkCost
from graphopt.cost.table import build_table
from graphopt.ir.canonical import canonical, to_model
from graphopt.ir.quantised import is_quantised
from graphopt.progress import Progress, silent

HOST = load_target("host-onnxruntime")
CONV = "(float[1,4,16,16] x) => (float[1,4,16,16] y) { c = Conv<pads=[1,1,1,1]>(x, w) y = Relu(c) }"
SUM = "(float[1,4,16,16] x) => (float[1,4,16,16] y) { y = Add(x, x) }"


def model(text: str, **weights: Any) -> onnx.ModelProto:
    return canonical(onnx_model(text, weights), None, "small")


def conv() -> onnx.ModelProto:
    return model(CONV, w=(4, 4, 3, 3))


class Listening(OnnxRuntimeBackend):
    """Prices nothing: keeps what it is given."""

    def __init__(self, precision: Any, folder: Path):
        super().__init__(HOST.with_precision(precision), CostCache(folder))
        self.given: list[onnx.ModelProto] = []

    def price(self, model: onnx.ModelProto, budget: int = 0, say: Progress = silent) -> NetworkCost:
        self.given.append(model)
        return NetworkCost(1.0, 1.0, 1.0, "measured", 0, 0, 0)

    def _price(self, model: onnx.ModelProto, limits: Any) -> NetworkCost:
        return self.price(model)


@pytest.mark.parametrize(("precision", "is_qdq"), [("fp32", False), ("fp16", False), ("w8a8", True)])
def test_candidates_are_priced_in_the_targets_precision(precision: str, is_qdq: bool, tmp_path: Path) -> None:
    backend = Listening(precision, tmp_path)
    pricer = InPrecision(backend)
    pricer.price_part(conv())
    pricer.price(conv())
    part, whole = backend.given
    assert [is_quantised(one) for one in (part, whole)] == [is_qdq, is_qdq]
    assert sum(node.op_type == "Conv" for node in whole.graph.node) == 1
    assert sum(node.op_type == "Conv" for node in part.graph.node) == 3  # quantised where it stands
    if is_qdq:
        integers = {n.output[0] for n in part.graph.node if n.op_type == "DequantizeLinear"}
        convs = [node for node in part.graph.node if node.op_type == "Conv"]
        assert all(set(node.input) <= integers for node in convs)
    assert pricer.additive is backend.additive is False


def test_the_original_is_priced_in_float(tmp_path: Path) -> None:
    backend = Listening("w8a8", tmp_path)
    asked: list[tuple[bool, bool]] = []

    def beside(model: onnx.ModelProto, reference: onnx.ModelProto, *others: Any) -> NetworkCost:
        asked.append((is_quantised(model), is_quantised(reference)))
        return NetworkCost(1.0, 1.0, 1.0, "measured", 0, 0, 0)

    backend.price_beside = beside  # type: ignore[method-assign]
    InPrecision(backend).price_beside(conv(), conv())
    assert asked == [(True, False)]


def test_a_form_is_made_once_for_graphs_of_one_shape(tmp_path: Path) -> None:
    pricer = InPrecision(Listening("w8a8", tmp_path))
    assert pricer.form(conv()) is pricer.form(conv())
    assert pricer.form(model(SUM)) is not pricer.form(conv())
    plain = conv()
    assert InPrecision(Listening("fp32", tmp_path)).form(plain) is plain


@needs_compiler
def test_an_npu_exchanges_quantised_parts_of_a_quantised_whole(tmp_path: Path) -> None:
    """A sum has no MACs, and is a part of a network in 8 bits all the same: its price has the terms of one."""
    pricer = InPrecision(open_backend(load_target("sm8650-hexagon").with_precision("w8a8"), CostCache(tmp_path)))
    whole, kept, put = pricer.price(conv()), pricer.price_part(model(SUM)), pricer.price_part(conv())
    assert [precision_of_price(cost) for cost in (whole, kept, put)] == ["w8a8"] * 3
    work = [sum(row.ms for row in cost.kernels if row.name != "launch") for cost in (kept, put)]
    assert pricer.exchanged(whole, kept, put) == pytest.approx(work[1] - work[0])


@needs_compiler
def test_a_search_sees_that_a_norm_is_dear_in_integers(tmp_path: Path) -> None:
    """An affine in its place folds into the convolution, and saves more of a network in 16 bits than of one in fp16."""
    space, saved = priced_space(), {}
    model = to_model(space.graph)
    for precision in ("fp16", "w8a16"):
        pricer = InPrecision(open_backend(load_target("sm8650-hexagon").with_precision(precision), CostCache(tmp_path)))
        whole = pricer.price(model)
        table = build_table(space, {"npu": whole}, {"npu": pricer}, CLEANUPS, lambda share, words: None)
        saved[precision] = -table.deltas["b.0/norm"]["affine-norm"]["npu"].latency_ms / whole.latency_ms
    assert saved["w8a16"] > saved["fp16"] > 0
