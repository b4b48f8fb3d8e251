"""TVM's traps, and whether they are still there. A test here that fails says which workaround may go."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path
from typing import Any, get_args

import pytest
import tvm
import tvm_ffi
from graphs import onnx_model
from packaging.version import Version
from tvm.s_tir import dlight
from tvm.s_tir import meta_schedule as ms

from graphopt.backends.targets import load_target
from graphopt.kernels.facts import kernel_kind, lower
from graphopt.kernels.gpu_rules import gpu_rules
from graphopt.kernels.intrinsics import import_intrinsics
from graphopt.kernels.linker import aarch64_linker
from graphopt.kernels.lowering import kernel_calls, to_relax, tvm_target
from graphopt.kernels.target import KernelKind
from graphopt.tuning.builds import compiled_schedules

KINDS = get_args(KernelKind)
STILL = "no longer so in this TVM: the workaround may go"
ROOT = Path(__file__).parents[2]


def test_the_pin_of_tvm_ffi_holds_and_the_newest_is_not_taken_by_chance() -> None:
    """apache-tvm-ffi 0.1.15 crashes in TuneContext; TVM's own requirement would let pip take it. When TVM's requirement
    leaves 0.1.15 out, or TVM is another, try without the pin (constraints.txt, pyproject.toml)."""
    installed = Version(metadata.version("apache-tvm-ffi"))
    assert Version("0.1.14") <= installed < Version("0.1.15.dev0")
    assert Version(metadata.version("apache-tvm")).release[:2] == (0, 27), STILL
    (asked,) = [line for line in metadata.requires("apache-tvm") or [] if line.startswith("apache-tvm-ffi")]
    from packaging.requirements import Requirement

    assert Requirement(asked).specifier.contains("0.1.15", prereleases=True), STILL
    pins = (ROOT / "constraints.txt").read_text()
    assert f"apache-tvm-ffi=={installed}\n" in pins


def test_the_intrinsics_still_ask_for_a_whole_call_stack_hundreds_of_times() -> None:
    """496 calls of inspect.stack(), 27 s: import_intrinsics makes each cheap. Counted in a process of its own."""
    code = """
import inspect, json, graphopt.kernels.intrinsics as intrinsics
calls = 0
cheap = intrinsics._frames
def counted(context=1):
    global calls
    calls += 1
    return cheap(context)
intrinsics._frames = counted
intrinsics.import_intrinsics()
print(json.dumps(calls))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout) > 100, STILL


def test_cheap_frames_are_the_frames_of_inspect() -> None:
    from graphopt.kernels.intrinsics import _frames

    mine, complete = _frames(), inspect.stack()
    assert [(f.frame, f.function, f.filename) for f in mine] == [(f.frame, f.function, f.filename) for f in complete]


def attention() -> tuple[Any, Any]:
    """The kernel of channel attention: a 1x1 convolution on a pooled vector, times the whole image."""
    text = """(float[1,8,16,16] x) => (float[1,8,16,16] y) {
        p = GlobalAveragePool(x) k = Conv<kernel_shape=[1,1]>(p, w, b) y = Mul(x, k) }"""
    target = load_target("exynos2100-mali-g78").with_precision("fp32")
    calls = kernel_calls(to_relax(onnx_model(text, {"w": (8, 8, 1, 1), "b": (8,)}), target))
    return next(call.function for call in calls if "conv" in call.name), tvm_target(target)


def extents(function: Any, tag: str) -> set[int]:
    """How many threads the loops of a scheduled kernel bind to a thread axis, where each launch has but one number."""
    found: set[int] = set()

    def loop(node: Any) -> None:
        if node.thread_binding is not None and str(node.thread_binding.thread_tag) == tag:
            found.add(int(node.extent))

    tvm_ffi.structural_walk(function.body, (tvm.tirx.For, loop), order="pre")
    return found


def test_gemv_still_launches_too_few_threads_for_an_epilogue_and_is_left_out() -> None:
    """GEMV sums with 2 threads in x and writes the image with 32 in x: one launch has 2, and 15 of 16 values stay
    unwritten. When both loops have one size, GEMV may go back into gpu_rules.
    """
    kernel, device = attention()
    with device:
        made = dlight.gpu.GEMV().apply(kernel, device, False)
    assert made is not None, STILL
    threads = extents((made[0] if isinstance(made, list) else made).mod["main"], "threadIdx.x")
    assert len(threads) > 1, STILL
    assert not any(isinstance(rule, dlight.gpu.GEMV) for kind in KINDS for rule in gpu_rules(kind))
    scheduled, _ = lower("attention", kernel, kernel_kind(kernel), device)
    assert len(extents(scheduled, "threadIdx.x")) == 1


def test_the_pipeline_for_adreno_is_still_no_pipeline_and_ours_is_named() -> None:
    """TVM's builder unpacks three values; for an Adreno it gets one pass. When it gets three, artefact.py may leave the
    pipeline to TVM, and textures are worth a try.
    """
    adreno, mali = (tvm_target(load_target(name)) for name in ("sm8650-adreno750", "exynos2100-mali-g78"))
    assert len(tvm.tirx.get_default_tir_pipeline(mali)) == 3
    assert not isinstance(tvm.tirx.get_default_tir_pipeline(adreno), tuple), STILL


def schedules_of(name: str) -> tuple[list[Any], Any]:
    text = "(float[1,4,8,8] x) => (float[1,4,8,8] y) { y = Relu(x) }"
    target = load_target(name)
    (call,) = kernel_calls(to_relax(onnx_model(text), target))
    import_intrinsics()
    context = ms.TuneContext(
        tvm.IRModule({"main": call.function.with_attr("global_symbol", "main")}), target=tvm_target(target),
        space_generator="post-order-apply", search_strategy="replay-trace", num_threads=1, rand_state=3,
    )  # fmt: skip
    context.pre_tuning(2, 2)
    return [candidate.sch for candidate in context.generate_measure_candidates()], tvm_target(target)


@pytest.mark.parametrize("name", ["sm8650-adreno750", "exynos2100-mali-g78"])
def test_artefacts_for_phones_are_shared_objects_for_android(name: str) -> None:
    link = aarch64_linker()
    if link is None:
        pytest.skip("no linker for aarch64 here: pip install ziglang")
    schedules, device = schedules_of(name)
    with compiled_schedules(schedules[:1], device, link) as made:
        assert made[0].path is not None, made[0].error
        header = made[0].path.read_bytes()[:20]
    assert header[:5] == b"\x7fELF\x02"
    assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64


def test_the_clean_up_of_artefacts_still_removes_their_whole_folder(tmp_path: Path) -> None:
    """RemoveBuildArtifact calls rmtree(dirname(artefact)): whatever lies beside it goes too. artefact.py gives each a
    folder of its own, and removes it itself. When the neighbour survives, TVM's callback may be used.
    """
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "neighbour.txt").write_text("years of work")
    artefact = folder / "one.tar"
    artefact.write_text("")
    schedules, _ = schedules_of("host-tvm")
    candidate = ms.MeasureCandidate(schedules[0], [])
    built = ms.builder.BuilderResult(str(artefact), None)
    ran = ms.runner.RunnerResult([1.0], None)
    scheduler = ms.task_scheduler.RoundRobin()
    ms.measure_callback.RemoveBuildArtifact().apply(scheduler, 0, [candidate], [built], [ran])
    assert not (folder / "neighbour.txt").exists(), STILL


def test_our_artefacts_go_and_their_neighbours_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "neighbour.txt").write_text("years of work")
    schedules, device = schedules_of("host-tvm")
    with compiled_schedules(schedules, device, None) as made:
        paths = [one.path for one in made]
        assert all(path is not None and path.exists() for path in paths), made
        assert len({path.parent for path in paths if path is not None}) == len(paths)
    assert [path.name for path in tmp_path.iterdir()] == ["neighbour.txt"]
