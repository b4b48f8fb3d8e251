"""Phones' GPUs: TVM lowers a network to OpenCL, the kernel model or a device prices it, an aarch64 library runs it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx

from graphopt.backends.base import Array, Artefact, Backend, Finding, Verification
from graphopt.backends.breakdown import Breakdown
from graphopt.backends.findings import tvm_findings, tvm_version
from graphopt.backends.manifests import manifest_of
from graphopt.backends.opencl.roofline import by_block, by_kind
from graphopt.cost.cache import CostCache
from graphopt.cost.counts import macs_and_parameters
from graphopt.cost.keys import hash_of
from graphopt.cost.memory import peak_memory
from graphopt.cost.ratio import Ratio, drawn, independent
from graphopt.cost.record import NetworkCost, Provenance
from graphopt.cost.target import Target
from graphopt.kernels.keys import target_key
from graphopt.kernels.target import GpuTarget
from graphopt.progress import Progress, silent
from graphopt.tuning.databases import tuning_state

_LINKED = "TVM's runtime on Android (tvm::runtime::Module::LoadFromFile, then its relax VM)"
_UNLINKED = f"{_LINKED}, once its objects are linked for aarch64 into one shared library"


class OpenClBackend(Backend[GpuTarget]):
    """Estimates by the kernel model, except of kernels that `graphopt tune` has measured on a device over RPC."""

    kind: ClassVar[str] = "opencl"
    target_type: ClassVar[type[Target]] = GpuTarget
    provenance: ClassVar[Provenance] = "estimated"

    def key(self) -> str:
        state = tuning_state(self.cache.folder / "tuning", self.target)
        return target_key(self.target) + (f":{state}" if state else "")

    def find_price(self, model: onnx.ModelProto, budget: int, say: Progress) -> NetworkCost:
        from graphopt.backends.opencl.estimate import estimate
        from graphopt.kernels.calls import activation_bytes

        macs, parameters = macs_and_parameters(model)  # a shape that is not static is said before TVM sees it
        is_empty = not model.graph.node

        def planned() -> int:
            return 0 if is_empty else activation_bytes(model, self.target, self.cache)

        counts = (macs, parameters, peak_memory(model, self.target.bytes_per_element, planned))
        if is_empty:
            return NetworkCost(0.0, 0.0, 0.0, self.provenance, *counts)
        bounds, provenance, kernels = estimate(model, self.target, self.cache, say)
        return NetworkCost(*bounds, provenance, *counts, kernels=kernels)

    def compare(
        self, before: onnx.ModelProto, after: onnx.ModelProto, budget: int = 0, say: Progress = silent
    ) -> Ratio:
        """By draws of what the kernel model does not know, each the same for both networks."""
        old, new = self.price(before, budget, say), self.price(after, budget, say)
        if not (old.latency_ms and new.latency_ms):
            return independent(old, new)
        from graphopt.backends.opencl.gain import drawn_times
        from graphopt.kernels.doubt import Draws, shipped_doubt

        doubt = shipped_doubt(self.target.device)
        key = f"gain:{hash_of([self.price_key(before), self.price_key(after), doubt.key()])}"
        found = self.cache.get(key)
        if found is None:
            draws = Draws(self.target, doubt)
            times = [drawn_times(model, self.target, draws, self.cache, say) for model in (before, after)]
            provenance = new.provenance if old.provenance == new.provenance else "estimated"
            found = drawn(old.latency_ms / new.latency_ms, times[0] / times[1], provenance).to_dict()
            self.cache.put(key, found)
        return Ratio.from_dict(found)

    def break_down(self, cost: NetworkCost, model: onnx.ModelProto | None = None) -> Breakdown | None:
        if not cost.kernels:
            return None
        found = by_kind(cost, self.target)
        if model is None:
            return found
        blocks = by_block(model, self.target, self.price)
        together = sum(part.latency_ms for part in blocks)
        return Breakdown(found.limit_ms, found.kinds, cost.kernels, tuple(blocks), together / cost.latency_ms - 1)

    def build(self, model: onnx.ModelProto, folder: Path, say: Progress = silent) -> Artefact:
        """`<target>.aarch64.so`, weights and host code for Android in one library (`<target>.aarch64.tar`, to be linked
        elsewhere, where no linker for aarch64 is found), and `<target>.cl`, the source of all its kernels, with a plan
        of their launches and the weights beside it.
        """
        from graphopt.backends.opencl.build import build

        say(0.0, f"{self.target.name}: compiles")
        source, library, *beside = build(model, self.target, folder, self.cache)
        loaded_by = _LINKED if library.suffix == ".so" else _UNLINKED
        images_in = "float16" if self.target.dtype == "float16" else None
        manifest = manifest_of(model, self.target, "opencl", tvm_version(), loaded_by, images_in=images_in)
        return Artefact((library, source, *beside), manifest)

    def verify(self, model: onnx.ModelProto, written: Path | None, trials: int, say: Progress = silent) -> Verification:
        from graphopt.backends.opencl.build import build, build_under
        from graphopt.backends.opencl.drawn_schedules import drawn_records
        from graphopt.backends.opencl.plan import read_kernel_file
        from graphopt.backends.opencl.platform import Device
        from graphopt.backends.opencl.shipped import run_shipped
        from graphopt.backends.opencl.verify import check_kernel_file

        self.check_carried(model)
        device = Device()
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            if written is None and trials:
                records = drawn_records(model, self.target, trials, CostCache(folder / "cache"), say)
                written = build_under(model, self.target, folder, records.get)[0]
            elif written is None:
                written = build(model, self.target, folder, self.cache)[0]
            artefact = read_kernel_file(written)
            shapes = [artefact.plan.tensors[name].shape for name in artefact.plan.inputs]
            say(0.0, "runs the file once, in a process that may crash or hang")
            run_shipped(written, [np.zeros(shape, np.float32) for shape in shapes])
            kernels, whole = check_kernel_file(artefact, model, self.target, device, say)
        arithmetic = "float16" if device.halves and self.target.dtype == "float16" else "float32"
        return Verification(written.name, device.name, arithmetic, kernels, whole)

    def price_operators(self, rows: Path, output: Path) -> int:
        from graphopt.backends.opencl.operator_files import read_operators, write_prices

        return write_prices(read_operators(rows), self.target, output)

    @property
    def elsewhere(self) -> str:
        from graphopt.backends.opencl.platform import why_no_platform

        return why_no_platform() or ""

    @property
    def runs_on(self) -> str:
        from graphopt.backends.opencl.platform import has_halves, platform_name

        as_made = self.target.dtype != "float16" or has_halves()
        arithmetic = self.target.dtype if as_made else "float32, weights and image rounded to float16"
        return f"this machine's OpenCL ({platform_name()}), in {arithmetic}"

    def file_run(self, artefact: Artefact) -> Path:
        return next(path for path in artefact.files if path.suffix == ".cl")

    def run(self, artefact: Artefact, inputs: Sequence[Array]) -> list[Array]:
        """The OpenCL file by its plan, on this machine's OpenCL device; the library, which holds the same kernels and
        is for another processor, is only compared with it.
        """
        from graphopt.backends.opencl.shipped import check_library, run_shipped

        if not self.runs_here:
            return super().run(artefact, inputs)
        source = self.file_run(artefact)
        check_library(artefact.files[0], source)
        return run_shipped(source, inputs)

    def check(self, tracker: tuple[str, int] | None = None, key: str | None = None) -> list[Finding]:
        from graphopt.backends.opencl.needs import phone_needs

        return [*tvm_findings(), *phone_needs(tracker, key)]
