"""What the phones' tools print, in the form that they print it: figures, and words where there are none."""

from __future__ import annotations

import pytest
from tool_outputs import MNN, NEW_LITERT, NOT_DELEGATED, OLD_LITERT, PERF_TEST, REPLACED, VIEWER

from graphopt.devices import parsers
from graphopt.errors import GraphoptError


def test_litert_that_knows_the_mean_alone() -> None:
    found = parsers.benchmark_model(OLD_LITERT, "cpu")
    assert (found.latency_ms, found.statistic, found.runs) == (266.473, "mean", 50)
    half = 1.645 * 0.419 / 50**0.5
    assert (found.low_ms, found.high_ms) == pytest.approx((266.473 - half, 266.473 + half), rel=1e-9)
    assert found.peak_memory_bytes == round(63.4023 * 2**20)
    assert found.units == {}


def test_litert_that_knows_the_median() -> None:
    found = parsers.benchmark_model(NEW_LITERT, "")
    assert (found.latency_ms, found.statistic, found.runs) == (112.4, "median", 49)
    assert found.high_ms - found.low_ms == pytest.approx(2 * 1.645 * 1.2533 * 0.778 / 7, rel=1e-9)
    assert found.peak_memory_bytes is None


def test_litert_where_all_runs_took_the_same() -> None:
    found = parsers.benchmark_model("count=5 curr=3000(all same)\nInference timings in us: Init: 1", "cpu")
    assert (found.latency_ms, found.low_ms, found.high_ms, found.runs) == (3.0, 3.0, 3.0, 5)


@pytest.mark.parametrize(("taken", "units"), [(58, {"GPU": 1.0}), (29, {"GPU": 0.5, "CPU": 0.5})])
def test_the_gpus_share_of_the_graph(taken: int, units: dict[str, float]) -> None:
    assert parsers.benchmark_model(REPLACED.format(taken) + NEW_LITERT, "gpu").units == units


def test_a_gpu_that_takes_nothing_is_no_measurement_of_it() -> None:
    with pytest.raises(GraphoptError, match="the GPU delegate takes nothing of this network there"):
        parsers.benchmark_model(NOT_DELEGATED + NEW_LITERT, "gpu")


def test_onnxruntime_by_its_single_runs() -> None:
    found = parsers.perf_test(PERF_TEST)
    assert (found.latency_ms, found.statistic, found.runs) == (pytest.approx(61.1), "median", 5)
    assert (found.low_ms, found.high_ms) == pytest.approx((60.3, 68.9))
    assert found.peak_memory_bytes is None


def test_qualcomms_sections() -> None:
    found = parsers.profile_viewer(VIEWER, 20)
    assert (found.latency_ms, found.low_ms, found.high_ms) == (2.952, 2.81, 3.377)
    assert (found.statistic, found.bounds, found.runs, found.units) == ("mean", "range", 20, {"NPU": 1.0})


def test_qualcomms_older_viewer_has_no_least_and_most() -> None:
    found = parsers.profile_viewer(VIEWER.partition("Execute Stats (Min)")[0], 20)
    assert (found.latency_ms, found.low_ms, found.high_ms) == (2.952, 2.952, 2.952)


@pytest.mark.parametrize("between", ["", "OpSum = 12.100000 ms "])
def test_mnn(between: str) -> None:
    found = parsers.mnn_basic(MNN.format(between), 30)
    assert (found.latency_ms, found.low_ms, found.high_ms, found.bounds) == (12.3, 12.0, 13.75, "range")
    assert found.peak_memory_bytes == round(18.25 * 2**20)


@pytest.mark.parametrize(
    ("tool", "read"),
    [
        ("benchmark_model", lambda said: parsers.benchmark_model(said, "cpu")),
        ("onnxruntime_perf_test", parsers.perf_test),
        ("qnn-profile-viewer", lambda said: parsers.profile_viewer(said, 5)),
        ("MNNV2Basic.out", lambda said: parsers.mnn_basic(said, 5)),
    ],
)
def test_what_is_no_result(tool: str, read) -> None:
    with pytest.raises(GraphoptError, match=f"{tool} printed no times; its last words: ERROR: no such op"):
        read("STARTING!\nERROR: no such op\n\n")
    with pytest.raises(GraphoptError, match="its last words: nothing"):
        read("")
