"""AI Hub: calls checked against the client's real signatures, profiles against what the client makes of its messages."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import pytest
from bundled import bundle_of, one_operator

from graphopt.bundle.bundle import Bundle
from graphopt.devices import aihub
from graphopt.devices.aihub import Hub, reading
from graphopt.devices.base import Request
from graphopt.errors import GraphoptError
from graphopt.progress import silent

client = pytest.mark.skipif(
    importlib.util.find_spec("qai_hub") is None,
    reason="AI Hub's client is not installed: pip install 'graphopt[aihub]'",
)
PROFILE: dict[str, Any] = {
    "execution_summary": {
        "estimated_inference_time": 2000,
        "estimated_inference_peak_memory": 90 << 20,
        "inference_memory_increase_range": (1 << 20, 3 << 20),
        "all_inference_times": [2400, 2000, 2100, 2200, 2300],
    },
    "execution_detail": [
        {"name": "conv", "type": "Conv2d", "compute_unit": "NPU"},
        {"name": "add", "type": "Eltwise", "compute_unit": "NPU"},
        {"name": "clip", "type": "Clip", "compute_unit": "NPU"},
        {"name": "resize", "type": "Resize", "compute_unit": "CPU"},
    ],
}


@pytest.fixture
def npu(tmp_path: Path) -> Bundle:
    return bundle_of(
        tmp_path / "npu", {"mine.onnx": b"a node", "mine.bin": b"context"}, format="qnn-context", delegate="htp"
    )


class Job:
    """A job of the service, as the client shows it."""

    url = "https://workbench.aihub.qualcomm.com/jobs/j1/"

    def __init__(self, *states: Any):
        self._states = list(states)

    def get_status(self) -> Any:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]

    def download_profile(self) -> dict[str, Any]:
        return PROFILE

    def get_target_model(self) -> str:
        return "a compiled model"


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client whose calls must fit the signatures of the real one."""
    import qai_hub

    made = create_autospec(qai_hub.Client, instance=True)
    phone = qai_hub.Device("Samsung Galaxy S24 (Family)", "14", ["chipset:qualcomm-snapdragon-8gen3"])
    made.get_devices.side_effect = lambda name="": [phone] if name in ("", phone.name) else []
    done = qai_hub.JobStatus(qai_hub.JobStatus.State.SUCCESS)
    busy = qai_hub.JobStatus(qai_hub.JobStatus.State.MEASURING_PERFORMANCE)
    made.submit_inference_job.return_value = Job(busy, done)
    made.submit_compile_job.return_value = Job(done)
    monkeypatch.setattr(qai_hub, "Client", lambda: made)
    monkeypatch.setattr(aihub, "ASK_S", 0.0)
    return made


def mistake(bundle: Bundle, name: str = "Samsung Galaxy S24 (Family)", request: Request = Request()) -> str:  # noqa: B008
    with pytest.raises(GraphoptError) as error:
        Hub(name).measure(bundle, request, silent)
    assert "\n" not in str(error.value)
    return str(error.value)


@client
def test_a_context_binary_is_profiled_on_the_npu(service: Any, npu: Bundle) -> None:
    said: list[str] = []
    found = Hub("Samsung Galaxy S24 (Family)").measure(npu, Request(runs=50), lambda share, words: said.append(words))
    call = service.submit_inference_job.call_args.kwargs
    assert call["model"] == str(npu.folder / "mine.bin")
    assert call["options"] == "--compute_unit npu --max_profiler_iterations 50"
    assert not service.submit_compile_job.called
    assert (found.latency_ms, found.runs, found.device) == (2.2, 5, "Samsung Galaxy S24 (Family) (OS 14)")
    assert found.runtime == "onnxruntime on AI Hub, qai-hub 0.56.0"
    assert f"profiles: measuring performance, {Job.url}" in said


@client
def test_a_free_size_is_compiled_for_the_tile(service: Any, tmp_path: Path) -> None:
    free = {"name": "image", "layout": "NCHW", "shape": [1, 3, None, None], "dtype": "float32", "range": [0.0, 1.0]}
    content = one_operator((1, 3, "height", "width"))
    bundle = bundle_of(tmp_path / "free", {"mine.onnx": content}, inputs=[free], tile=(64, 48))
    Hub("Samsung Galaxy S24 (Family)").measure(bundle, Request(), silent)
    compiled, ran = service.submit_compile_job.call_args.kwargs, service.submit_inference_job.call_args.kwargs
    assert compiled["input_specs"] == {"image": ((1, 3, 64, 48), "float32")}
    assert compiled["options"] == "--target_runtime onnx"
    assert (ran["model"], ran["options"].split()[:2]) == ("a compiled model", ["--compute_unit", "cpu"])


@client
def test_a_device_that_there_is_not(service: Any, npu: Bundle) -> None:
    assert "AI Hub has no such device; did you mean 'Samsung Galaxy S24 (Family)'?" in mistake(npu, "Samsung Galaxy")


@client
def test_a_job_that_fails(service: Any, npu: Bundle) -> None:
    import qai_hub

    failed = qai_hub.JobStatus(qai_hub.JobStatus.State.FAILED, "the context is of another SDK")
    service.submit_inference_job.return_value = Job(failed)
    assert mistake(npu).endswith(f"the job failed: the context is of another SDK ({Job.url})")


@client
def test_a_job_that_takes_too_long(service: Any, npu: Bundle) -> None:
    import qai_hub

    service.submit_inference_job.return_value = Job(qai_hub.JobStatus(qai_hub.JobStatus.State.PROVISIONING_DEVICE))
    said = mistake(npu, request=Request(limit_s=0.01))
    assert re.search(r"not done within 0.01 s; raise --limit \(the job goes on: https://", said)


@client
def test_what_the_service_says_is_one_line(service: Any, npu: Bundle) -> None:
    import qai_hub

    service.submit_inference_job.side_effect = qai_hub.UserError("Over quota.\n\n┌──┐\n| wait a day |\n└──┘\n")
    assert mistake(npu).endswith("AI Hub: Over quota. wait a day")


@client
def test_no_account(npu: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QAIHUB_CLIENT_CONFIG", raising=False)
    assert mistake(npu).endswith("and give the client its token: qai-hub configure --api_token TOKEN")


@client
def test_the_profile_is_that_of_the_client() -> None:
    from qai_hub import public_api_pb2 as messages
    from qai_hub.client import _profile_pb_to_python_dict

    kinds = messages.ComputeUnit
    detail = messages.ProfileDetail(major_version=1, minor_version=2, execution_time=2000)
    detail.all_execution_times.extend([2400, 2000, 2100, 2200, 2300])
    detail.execution_memory.increase.lower, detail.execution_memory.increase.upper = 1 << 20, 3 << 20
    for unit in (kinds.COMPUTE_UNIT_NPU, kinds.COMPUTE_UNIT_NPU, kinds.COMPUTE_UNIT_NPU, kinds.COMPUTE_UNIT_CPU):
        detail.layer_details.add(name="layer", layer_type_name="Conv2d", compute_unit=unit)
    assert reading(_profile_pb_to_python_dict(detail), "a phone", "onnx") == reading(PROFILE, "a phone", "onnx")


def test_what_a_profile_says() -> None:
    found = reading(PROFILE, "a phone", "onnx")
    assert (found.latency_ms, found.low_ms, found.high_ms, found.runs) == (2.2, 2.0, 2.4, 5)
    assert found.peak_memory_bytes == 3 << 20
    assert found.units == {"NPU": 0.75, "CPU": 0.25}


def test_an_older_profile_has_one_time_and_no_memory() -> None:
    found = reading(
        {"execution_summary": {"estimated_inference_time": 2000}, "execution_detail": []}, "a phone", "onnx"
    )
    assert (found.latency_ms, found.low_ms, found.runs, found.peak_memory_bytes) == (2.0, 2.0, 1, None)
    with pytest.raises(GraphoptError, match="AI Hub's profile on a phone holds no time"):
        reading({}, "a phone", "onnx")


def test_the_client_is_an_extra(npu: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qai_hub", None)
    assert "needs AI Hub's client: pip install 'graphopt[aihub]'" in mistake(npu)


def test_what_ai_hub_does_not_take(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "gpu", {"mine.cl": b"kernels"}, format="opencl")
    assert "AI Hub takes tflite, onnx, qnn-context, and this bundle holds opencl" in mistake(bundle)
    with pytest.raises(GraphoptError, match="expected aihub:NAME"):
        Hub(" ")
