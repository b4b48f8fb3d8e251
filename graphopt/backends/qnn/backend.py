"""A phone's NPU: Qualcomm's offline compiler compiles a network, and a regression prices what it says of it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import onnx

from graphopt.backends.base import Artefact, Backend, Finding, manifest_of
from graphopt.backends.breakdown import Breakdown
from graphopt.backends.findings import version_finding
from graphopt.backends.qnn.compiler import compile_npu, compiler_version
from graphopt.backends.qnn.log import CompiledFacts
from graphopt.backends.qnn.regression import FORMULA, REFUSED, breakdown, exchanged_ms, price
from graphopt.backends.qnn.target import NpuTarget
from graphopt.cost.counts import macs_and_parameters
from graphopt.cost.keys import figures_of, graph_key, hash_of
from graphopt.cost.memory import peak_memory
from graphopt.cost.record import NetworkCost, Provenance
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.progress import Progress, silent

_SERIES = "2.7."
_NOTHING = CompiledFacts(0, 0, 0, 0, 0, 0, 0, 0, graphs=1)


class QnnBackend(Backend[NpuTarget]):
    """Estimates by the regression, which is not linear: prices of parts do not add up."""

    kind: ClassVar[str] = "qnn"
    target_type: ClassVar[type[Target]] = NpuTarget
    provenance: ClassVar[Provenance] = "estimated"
    additive: ClassVar[bool] = False

    def key(self) -> str:
        return hash_of([figures_of(self.target), compiler_version(self.target), FORMULA])

    def compile_key(self, model: onnx.ModelProto) -> str:
        """A hash of the graph, and of what decides how the NPU's compiler compiles it."""
        chip = self.target.npu_compiler.model_dump(exclude={"time_limit_s"})
        return hash_of([graph_key(model), chip, compiler_version(self.target)])

    def find_price(self, model: onnx.ModelProto, budget: int, say: Progress) -> NetworkCost:
        """What the compiler says is kept under a key of its own: other parameters of the regression compile nothing.

        A graph with no node costs a launch: whatever is put in its place is launched too, and the difference counts.
        """
        macs, parameters = macs_and_parameters(model)
        memory = peak_memory(model, self.target.bytes_per_element)
        facts = self._facts(model, say) if model.graph.node else _NOTHING
        bounds, rows = price(facts, macs, self.target), breakdown(facts, macs, self.target)
        return NetworkCost(*bounds, self.provenance, macs, parameters, memory, kernels=rows)

    def _facts(self, model: onnx.ModelProto, say: Progress) -> CompiledFacts:
        key = f"npu:{self.compile_key(model)}"
        found = self.cache.get(key)
        if found is None:
            say(0.1, f"{self.target.name}: compiling offline")
            found = compile_npu(model, self.target)[0].to_dict()
            self.cache.put(key, found)
        return CompiledFacts.from_dict(found)

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        return exchanged_ms(whole, kept, put, self.target)

    def break_down(self, cost: NetworkCost, model: onnx.ModelProto | None = None) -> Breakdown | None:
        """The terms of the regression: an NPU's price has neither kinds, blocks nor a roofline."""
        return Breakdown(None, (), cost.kernels)

    def build(self, model: onnx.ModelProto, folder: Path, say: Progress = silent) -> Artefact:
        """`<target>.onnx` and the context binary that it names, `<target>_qnn.bin`, for onnxruntime on the phone; no
        files for a network with ops that the NPU refuses, of which there is no binary.
        """
        runtime = ("onnxruntime-qnn", compiler_version(self.target).partition("/")[0])
        loaded_by = "onnxruntime with its QNN execution provider, on the phone"
        manifest = manifest_of(model, self.target, "qnn-context", runtime, loaded_by, delegate="htp")
        refused = [row.name for row in self.price(model).kernels if row.kind == REFUSED]
        if refused:
            return Artefact((), manifest, f"the NPU refuses {', '.join(refused)}")
        say(0.0, f"{self.target.name}: compiles offline")
        return Artefact(tuple(compile_npu(model, self.target, folder)[1]), manifest)

    @property
    def elsewhere(self) -> str:
        return "a context binary runs on the phone's NPU alone"

    def check(self, tracker: tuple[str, int] | None = None, key: str | None = None) -> list[Finding]:
        if tracker is not None or key is not None:
            raise GraphoptError(f"target {self.target.name} is reached over no tracker; leave out --tracker and --key")
        return [version_finding("onnxruntime-qnn", _SERIES)]
