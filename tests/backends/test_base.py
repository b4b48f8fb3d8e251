"""What all backends share: prices that are kept, and what changes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import onnx_model
from small_models import CONV, CONV_NODE, model, normalised, renamed

from graphopt.backends import base
from graphopt.backends.base import Artefact
from graphopt.backends.opencl.backend import OpenClBackend
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.cost.cache import CostCache
from graphopt.cost.record import NetworkCost
from graphopt.errors import GraphoptError

PHONE = load_target("sm8650-adreno750")


def test_names_and_weights_do_not_change_a_price(tmp_path: Path) -> None:
    phone, fresh = PHONE, CostCache(tmp_path)
    first = open_backend(phone, fresh).price(normalised(seed=0))
    assert (fresh.hits, fresh.misses) == (0, 5)  # the network and its four kernels
    assert open_backend(phone, fresh).price(normalised(seed=0)) == first
    assert open_backend(phone, fresh).price(renamed(normalised(seed=1))) == first
    assert (fresh.hits, fresh.misses) == (2, 5)
    assert open_backend(phone, CostCache(tmp_path)).price(normalised(seed=2)) == first  # from disk


def test_what_changes_a_price_changes_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, made, fact = CostCache(tmp_path), normalised(), PHONE.facts["dram_bandwidth"]

    def key(budget: int = 0, **bandwidth: object) -> str:
        facts = {**PHONE.facts, "dram_bandwidth": fact.model_copy(update=bandwidth)}
        return open_backend(PHONE.model_copy(update={"facts": facts}), cache).price_key(made, budget)

    before = key()
    assert key(value=100.0) != before
    assert key(source="measured by somebody else") == before
    assert key(budget=8) == before  # the price of a GPU spends no trials
    host = open_backend(load_target("host-tvm"), cache)
    assert host.price_key(made, 8) != host.price_key(made, 0)
    monkeypatch.setattr(base, "PLAN", base.PLAN + 1)  # the price holds what memory the plan takes
    assert key() != before


def test_a_changed_fact_is_priced_anew(tmp_path: Path) -> None:
    fresh = CostCache(tmp_path)
    made = model(f"y = {CONV_NODE}", **CONV)
    before = open_backend(PHONE, fresh).price(made)
    slow = PHONE.facts["launch_overhead"].model_copy(update={"value": 30.0})
    after = open_backend(PHONE.model_copy(update={"facts": {**PHONE.facts, "launch_overhead": slow}}), fresh).price(
        made
    )
    assert after.latency_ms - before.latency_ms == pytest.approx((30.0 - PHONE.fact("launch_overhead")) / 1e3)


def test_prices_survive_a_round_trip(tmp_path: Path) -> None:
    cost = open_backend(PHONE, CostCache(tmp_path)).price(normalised())
    assert NetworkCost.from_dict(cost.to_dict()) == cost


def test_control_flow_has_no_price(tmp_path: Path) -> None:
    made = onnx_model(
        """(bool c, float[1,4] x) => (float[1,4] y) {
            y = If (c) <then_branch = a () => (float[1,4] p) { p = Relu(x) },
                        else_branch = b () => (float[1,4] q) { q = Neg(x) }> }""",
        {},
    )
    with pytest.raises(GraphoptError, match="If .* runs a graph of its own, so the price depends on the image"):
        open_backend(PHONE, CostCache(tmp_path)).price(made)


def test_an_artefact_of_another_device_does_not_run_here(tmp_path: Path) -> None:
    class Elsewhere(OpenClBackend):
        elsewhere = "it is on the moon"

    backend = Elsewhere(PHONE, CostCache(tmp_path))
    assert not backend.runs_here
    with pytest.raises(GraphoptError, match="sm8650-adreno750: its artefacts do not run here: it is on the moon"):
        backend.run(Artefact(()), [])


def test_integers_are_priced_where_they_are_carried(tmp_path: Path) -> None:
    text = "(float[1,3,8,8] x) => (float[1,3,8,8] y) { q = QuantizeLinear(x, s) y = DequantizeLinear(q, s) }"
    quantised = onnx_model(text, {"s": np.float32(0.01)})
    for name in ("sm8650-adreno750", "host-mnn"):
        with pytest.raises(GraphoptError, match=rf"^target {name}: the network is quantised \(QDQ\), which only"):
            open_backend(load_target(name), CostCache(tmp_path)).price(quantised)
    assert open_backend(load_target("host-onnxruntime"), CostCache(tmp_path)).price(quantised).latency_ms > 0
