"""A phone's NPU: Qualcomm's offline compiler compiles a network, and a regression prices what it says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import onnx

from graphopt.backends.base import Array, Artefact, Backend, Finding
from graphopt.backends.breakdown import Breakdown
from graphopt.backends.findings import refuse_tracker, state_of, version_finding
from graphopt.backends.manifests import manifest_of
from graphopt.backends.qnn import quantised
from graphopt.backends.qnn.compiler import compile_npu, compiler_version
from graphopt.backends.qnn.doubt import Array as Draws
from graphopt.backends.qnn.doubt import drawn_times, shipped_doubt
from graphopt.backends.qnn.log import CompiledFacts
from graphopt.backends.qnn.padding import padded_macs
from graphopt.backends.qnn.precision import precision_of, without_conversions
from graphopt.backends.qnn.quantised_doubt import drawn_quantised, shipped_quantised_doubt
from graphopt.backends.qnn.regression import FORMULA, REFUSED, Features, breakdown, exchanged_ms, price
from graphopt.backends.qnn.target import NpuTarget
from graphopt.backends.qnn.values import values_of
from graphopt.config.precision import Precision
from graphopt.cost.counts import macs_and_parameters
from graphopt.cost.keys import figures_of, graph_key, hash_of
from graphopt.cost.memory import peak_memory
from graphopt.cost.ratio import Ratio, drawn, independent
from graphopt.cost.record import NetworkCost, Provenance
from graphopt.cost.target import Target
from graphopt.progress import Progress, silent

_SERIES = "2.7."
_NOTHING = CompiledFacts(0, 0, 0, 0, 0, 0, 0, 0, graphs=1)


class QnnBackend(Backend[NpuTarget]):
    """Estimates by the regression, which is not linear: prices of parts do not add up."""

    kind: ClassVar[str] = "qnn"
    floats: ClassVar[tuple[Precision, ...]] = ("fp16",)
    integers: ClassVar[str] = "qnn"
    target_type: ClassVar[type[Target]] = NpuTarget
    provenance: ClassVar[Provenance] = "estimated"
    additive: ClassVar[bool] = False
    own_arithmetic: ClassVar[str] = "float16"

    def key(self) -> str:
        return hash_of([figures_of(self.target), compiler_version(self.target), FORMULA])

    def compile_key(self, model: onnx.ModelProto) -> str:
        """A hash of the graph, and of what decides how the NPU's compiler compiles it."""
        chip = self.target.npu_compiler.model_dump(exclude={"time_limit_s", "emulator_limit_s"})
        return hash_of([graph_key(model), chip, compiler_version(self.target)])

    def find_price(self, model: onnx.ModelProto, budget: int, say: Progress) -> NetworkCost:
        """What the compiler says is kept under a key of its own: other parameters of the regression compile nothing.

        A graph with no node costs a launch: whatever is put in its place is launched too, and the difference counts.
        """
        macs, parameters = macs_and_parameters(model)
        memory = peak_memory(model, self.target.bytes_per_element)
        precision = precision_of(model)
        figures = None if precision == "float16" else quantised.model_of(self.target, precision)
        facts = self._facts(model, say) if model.graph.node else _NOTHING
        padded = padded_macs(model)
        if figures is None:
            bounds, rows = price(facts, padded, self.target), breakdown(facts, padded, self.target)
        else:
            facts, values = replace(facts, refused=without_conversions(facts.refused)), values_of(model)
            bounds = quantised.price(quantised.QuantisedFeatures.of(facts, padded, values), figures)
            rows = quantised.breakdown(facts, padded, values, figures, precision)
        return NetworkCost(*bounds, self.provenance, macs, parameters, memory, kernels=rows)

    def _facts(self, model: onnx.ModelProto, say: Progress) -> CompiledFacts:
        key = f"npu:{self.compile_key(model)}"
        found = self.cache.get(key)
        if found is None:
            say(0.1, f"{self.target.name}: compiling offline")
            found = compile_npu(model, self.target)[0].to_dict()
            self.cache.put(key, found)
        return CompiledFacts.from_dict(found)

    def compare(
        self, before: onnx.ModelProto, after: onnx.ModelProto, budget: int = 0, say: Progress = silent
    ) -> Ratio:
        """By draws of what the regression does not know, its parameters the same for both networks where these have the
        same precision; by the bounds of both prices where all of one is refused.
        """
        old, new = self.price(before, budget, say), self.price(after, budget, say)
        if not (old.latency_ms and new.latency_ms):
            return independent(old, new)
        times = [self._drawn(cost) for cost in (old, new)]
        return drawn(old.latency_ms / new.latency_ms, times[0] / times[1], self.provenance)

    def refused(self, model: onnx.ModelProto) -> tuple[str, ...]:
        return tuple(row.name for row in self.price(model).kernels if row.kind == REFUSED)

    def _drawn(self, cost: NetworkCost) -> Draws:
        precision = quantised.precision_of_price(cost)
        if precision is None:
            return drawn_times(Features.of_price(cost), self.target, shipped_doubt())
        model = quantised.model_of(self.target, precision)
        doubt = shipped_quantised_doubt()[precision]
        return drawn_quantised(quantised.QuantisedFeatures.of_price(cost), model, doubt)

    def exchanged(self, whole: NetworkCost, kept: NetworkCost, put: NetworkCost) -> float:
        if quantised.precision_of_price(whole):
            return quantised.exchanged_ms(kept, put)
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
        if refused := self.refused(model):
            return Artefact((), manifest, f"the NPU refuses {', '.join(refused)}")
        say(0.0, f"{self.target.name}: compiles offline")
        return Artefact(tuple(compile_npu(model, self.target, folder)[1]), manifest)

    @property
    def elsewhere(self) -> str:
        from graphopt.backends.qnn.emulator import why_no_emulator

        return why_no_emulator(self.target)

    @property
    def runs_on(self) -> str:
        return "Qualcomm's emulator of the NPU, in the NPU's own arithmetic"

    def run(self, artefact: Artefact, inputs: Sequence[Array]) -> list[Array]:
        """On the emulated NPU: the context binary itself, in the arithmetic that it was compiled for."""
        from graphopt.backends.qnn.emulator import emulate

        if not self.runs_here:
            return super().run(artefact, inputs)
        return emulate(artefact.files, inputs, self.target, self.cache)

    def check(self, tracker: tuple[str, int] | None = None, key: str | None = None) -> list[Finding]:
        refuse_tracker(self.target, tracker, key)
        from graphopt.backends.qnn.emulator import why_no_emulator

        missing = why_no_emulator(self.target)
        emulator = Finding(
            "emulator of the NPU", state_of(not missing), "running artefacts here", missing or "onnxruntime-qnn's",
            "nothing is needed for prices and builds; run the artefact on the phone, or on x86_64 Linux",
        )  # fmt: skip
        return [version_finding("onnxruntime-qnn", _SERIES), emulator]
