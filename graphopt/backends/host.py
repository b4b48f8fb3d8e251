"""What backends share that run networks on this machine: an artefact is built, loaded, and measured by the clock."""

from __future__ import annotations

import os
import platform
import tempfile
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np
import onnx
from pydantic import Field

from graphopt.backends.base import Array, Artefact, Backend, Finding, Form, Loaded, as_it_is
from graphopt.backends.findings import refuse_tracker, version_finding
from graphopt.backends.measuring import Call, Limits, busy, over_loadings, pinned, time_call, time_ratio
from graphopt.backends.peak import peak_bytes
from graphopt.config.precision import Float
from graphopt.cost.counts import macs_and_parameters, static_shapes
from graphopt.cost.keys import graph_key, hash_of
from graphopt.cost.memory import peak_memory
from graphopt.cost.ratio import Ratio
from graphopt.cost.record import NetworkCost, Provenance
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError
from graphopt.ir.quantised import is_quantised
from graphopt.progress import Progress, silent
from graphopt.tuning.tracker import Tracker

# After so many seconds, what is known is the answer; `narrow` is half of a 90 % interval, as a share
_PRICE, _RATIO = Limits(seconds=3.0), Limits(seconds=5.0)
_PART = Limits(least=5, seconds=0.3, narrow=0.02)  # one of hundreds, which whole networks correct
_BESIDE = Limits(least=5, seconds=0.8, narrow=0.015)
_LOADINGS = 4  # of a ratio that is shown; a whole network of a search has three, a part one


class HostTarget(Target):
    """A CPU: this host's, or that of a phone that has the same runtime. `threads` is on how many networks run."""

    beside_integers: ClassVar[Float] = "float32"
    device: Literal["cpu", "android"]
    threads: int = Field(1, ge=1)


HostT = TypeVar("HostT", bound=HostTarget)


class HostBackend(Backend[HostT]):
    """Measures. Parts do not add up to networks: what one leaves in a cache, or in a layout, the next one finds."""

    provenance: ClassVar[Provenance] = "measured"
    additive: ClassVar[bool] = False
    packages: ClassVar[tuple[tuple[str, str], ...]]  # that it needs here, each with the series that was tried

    @abstractmethod
    def load(self, artefact: Artefact) -> Loaded:
        """The artefact, ready to run on the target's number of threads: inputs in the graph's order -> outputs.

        Raises:
            GraphoptError: the runtime does not accept it.
        """

    def surrounded(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """A part with what it needs around it to run as it does inside a network; the same for all parts of a place."""
        return model

    def planned_memory(self, model: onnx.ModelProto) -> int:
        """Bytes that the network is expected to take at its peak."""
        return peak_memory(model, self.target.bytes_per_element)

    def measured_memory(self, model: onnx.ModelProto) -> int | None:
        """Bytes of a process of its own, at its peak while it runs the network, above what it had with the runtime
        loaded and no network; None where the target is elsewhere, or the system does not say.

        Raises:
            GraphoptError: as `price`.
        """
        if self.unpriced:
            return None
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder:
            artefact = self._built(model, Path(folder), silent)
            return peak_bytes(self.target, artefact, _inputs(model, artefact))

    def find_price(self, model: onnx.ModelProto, budget: int, say: Progress) -> NetworkCost:
        """The median of its runs; memory is planned, and `measured_memory` says what it is."""
        return self._measured(model, _PRICE, say)

    def price_part(
        self, model: onnx.ModelProto, kept: onnx.ModelProto | None = None, form: Form = as_it_is
    ) -> NetworkCost:
        """In its surroundings, beside what stands there: the ratio of both says more than two prices."""
        macs, parameters = macs_and_parameters(model)
        part = form(self.surrounded(model))
        beside = None if kept is None else form(self.surrounded(kept))
        cost = self._price(part, _PART) if beside is None else self._beside(part, beside, _PART, 1, silent)
        return replace(cost, macs=macs, parameters=parameters)

    def price_beside(
        self, model: onnx.ModelProto, reference: onnx.ModelProto, budget: int = 0, say: Progress = silent
    ) -> NetworkCost:
        """The price of the reference, which is kept, by the ratio of both, which is measured now: that the machine is
        slower than it was then changes nothing.
        """
        self.price(reference, budget, say)
        return self._beside(model, reference, _BESIDE, _LOADINGS - 1, say)

    def compare(
        self, before: onnx.ModelProto, after: onnx.ModelProto, budget: int = 0, say: Progress = silent
    ) -> Ratio:
        """Both in one process, turn by turn. Measured anew each time."""
        if not before.graph.node or not after.graph.node:
            raise GraphoptError(f"target {self.target.name}: a network without nodes takes no time, and has no ratio")
        return self._ratio(before, after, _RATIO, _LOADINGS, say)

    @property
    def elsewhere(self) -> str:
        return self.unpriced

    @property
    def unpriced(self) -> str:
        return "" if self.target.device == "cpu" else super().elsewhere

    def caution(self) -> str:
        return "" if self.unpriced else busy()

    def run(self, artefact: Artefact, inputs: Sequence[Array]) -> list[Array]:
        return super().run(artefact, inputs) if self.elsewhere else self.load(artefact)(inputs)

    def check(self, tracker: Tracker | None = None, key: str | None = None) -> list[Finding]:
        refuse_tracker(self.target, tracker, key)
        return [version_finding(package, series) for package, series in self.packages]

    @staticmethod
    def processor() -> str:
        """The name of this machine's processor: part of the key of what is measured on it."""
        path = Path("/proc/cpuinfo")
        lines = path.read_text().splitlines() if path.exists() else []
        named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
        return f"{named or platform.processor()} x {os.cpu_count()}"

    def _price(self, model: onnx.ModelProto, limits: Limits) -> NetworkCost:
        """`price`; for no longer than the limits say, where it is not known."""
        return self._kept(self.price_key(model), lambda: self._measured(model, limits, silent))

    def _beside(
        self, model: onnx.ModelProto, reference: onnx.ModelProto, limits: Limits, loadings: int, say: Progress
    ) -> NetworkCost:
        known = self._price(reference, limits)
        if not (model.graph.node and reference.graph.node) or graph_key(model) == graph_key(reference):
            return self._price(model, limits)

        def measured() -> NetworkCost:
            ratio, ms = self._ratio(reference, model, limits, loadings, say), known.latency_ms
            counts = (*macs_and_parameters(model), self.planned_memory(model))
            return NetworkCost(ms / ratio.value, ms / ratio.high, ms / ratio.low, self.provenance, *counts)

        return self._kept(f"beside:{hash_of([graph_key(model), self.price_key(reference)])}", measured)

    def _kept(self, key: str, make: Callable[[], NetworkCost]) -> NetworkCost:
        found = self.cache.get(key)
        if found is not None:
            return NetworkCost.from_dict(found)
        made = make()
        self.cache.put(key, made.to_dict())
        return made

    def _measured(self, model: onnx.ModelProto, limits: Limits, say: Progress) -> NetworkCost:
        counts = (*macs_and_parameters(model), self.planned_memory(model))
        if not model.graph.node:
            return NetworkCost(0.0, 0.0, 0.0, self.provenance, *counts)
        with self._ready(model, say) as call:
            say(0.5, f"{self.target.name}: measures")
            timing = time_call(call, replace(limits, threads=self.target.threads))
        return NetworkCost(timing.ms, timing.low_ms, timing.high_ms, self.provenance, *counts)

    def _ratio(
        self, before: onnx.ModelProto, after: onnx.ModelProto, limits: Limits, loadings: int, say: Progress
    ) -> Ratio:
        """Over so many loadings, each within the limits; which network is loaded first changes with each of them."""
        found, limits = [], replace(limits, threads=self.target.threads)
        for number in range(loadings):
            models = (after, before) if number % 2 else (before, after)
            with self._ready(models[0], say) as first, self._ready(models[1], say) as second:
                say((number + 0.5) / loadings, f"{self.target.name}: measures both, turn by turn")
                calls = (second, first) if number % 2 else (first, second)
                found.append(time_ratio(*calls, limits)[2])
        return over_loadings(found)

    @contextmanager
    def _ready(self, model: onnx.ModelProto, say: Progress) -> Iterator[Call]:
        """The model, built and loaded, on random images: pinned from before the runtime starts its threads."""
        if self.unpriced:
            raise GraphoptError(f"target {self.target.name} has no price on this machine: {self.unpriced}")
        with tempfile.TemporaryDirectory(prefix="graphopt-") as folder, pinned(self.target.threads):
            artefact = self._built(model, Path(folder), say)
            loaded, inputs = self.load(artefact), _inputs(model, artefact)
            yield lambda: loaded(inputs)

    def _built(self, model: onnx.ModelProto, folder: Path, say: Progress) -> Artefact:
        self.check_carried(model)
        backend = self if is_quantised(model) else self.in_float()  # a price may be that of the original
        artefact = backend.build(model, folder, say)
        if not artefact.files:
            raise GraphoptError(f"target {self.target.name}: {artefact.refusal}")
        return artefact


def _inputs(model: onnx.ModelProto, artefact: Artefact) -> list[Array]:
    """Random images in [0, 1) of the model's shapes, in the types that the artefact takes."""
    shapes, generator = static_shapes(model), np.random.default_rng(0)
    return [generator.random(shapes[value["name"]]).astype(value["dtype"]) for value in artefact.manifest["inputs"]]
