"""This host's CPU: TVM compiles a network with LLVM, MetaSchedule tunes it, and the clock of this machine prices it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import onnx

from graphopt.atomic import replacing
from graphopt.backends.base import Array, Artefact, Backend, Finding, Loaded
from graphopt.backends.findings import state_of, tracker_findings, tvm_findings, tvm_version
from graphopt.backends.manifests import manifest_of
from graphopt.config.precision import Precision
from graphopt.cost.counts import macs_and_parameters
from graphopt.cost.memory import peak_memory
from graphopt.cost.record import NetworkCost, Provenance
from graphopt.cost.target import Target
from graphopt.kernels.keys import target_key
from graphopt.kernels.target import CpuTarget
from graphopt.progress import Progress, silent
from graphopt.tuning.databases import tuning_state


class LlvmBackend(Backend[CpuTarget]):
    """Measures: the whole network, tuned with the trials of the budget, or under TVM's default schedules without."""

    kind: ClassVar[str] = "llvm"
    target_type: ClassVar[type[Target]] = CpuTarget
    provenance: ClassVar[Provenance] = "measured"
    floats: ClassVar[tuple[Precision, ...]] = ("fp32",)
    tunes: ClassVar[bool] = True

    def key(self) -> str:
        state = tuning_state(self.cache.folder / "tuning", self.target)
        return target_key(self.target) + (f":{state}" if state else "")

    def find_price(self, model: onnx.ModelProto, budget: int, say: Progress) -> NetworkCost:
        counts = (*macs_and_parameters(model), peak_memory(model, self.target.bytes_per_element))
        if not model.graph.node:
            return NetworkCost(0.0, 0.0, 0.0, self.provenance, *counts)
        from graphopt.backends.llvm.measure import measure

        return NetworkCost(*measure(model, self.target, self.cache, budget, say), self.provenance, *counts)

    def build(self, model: onnx.ModelProto, folder: Path, say: Progress = silent) -> Artefact:
        """`<target>.so`, under the best schedules that tuning has left in the cache folder."""
        from graphopt.backends.llvm.measure import build_host

        path = folder / f"{self.target.name}.so"
        executable = build_host(model, self.target, self.cache, 0, say, tuned=True)
        with replacing(path) as temporary:
            executable.export_library(str(temporary))
        loaded_by = "TVM's runtime on this host (tvm.runtime.load_module, then relax.VirtualMachine)"
        return Artefact((path,), manifest_of(model, self.target, "tvm", tvm_version(), loaded_by))

    @property
    def elsewhere(self) -> str:
        return ""

    def run(self, artefact: Artefact, inputs: Sequence[Array]) -> list[Array]:
        return self.load(artefact)(inputs)

    def load(self, artefact: Artefact) -> Loaded:
        import tvm
        from tvm import relax

        machine = relax.VirtualMachine(tvm.runtime.load_module(str(artefact.files[0])), tvm.cpu())

        def run(inputs: Sequence[Array]) -> list[Array]:
            made = machine["main"](*(tvm.runtime.tensor(np.ascontiguousarray(array)) for array in inputs))
            outputs = [made] if isinstance(made, tvm.runtime.Tensor) else list(made)
            return [output.numpy() for output in outputs]

        return run

    def check(self, tracker: tuple[str, int] | None = None, key: str | None = None) -> list[Finding]:
        found = shutil.which("g++") or shutil.which("clang++") or shutil.which("cc")
        compiler = Finding("C++ compiler", state_of(found), "measuring on this host", found or "none", "install g++")
        if tracker is None and key is None:  # this host needs none
            return [*tvm_findings(), compiler]
        return [*tvm_findings(), compiler, *tracker_findings(tracker, key)]
