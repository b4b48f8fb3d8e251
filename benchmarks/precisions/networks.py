"""Which networks are judged in which precision, and their quantised forms, kept as files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx

from graphopt.atomic import replacing
from graphopt.cost.cache import CostCache
from graphopt.ir.half import to_fp16
from graphopt.models.shipped import SHIPPED
from graphopt.models.source import find_model, load_source
from graphopt.progress import Progress
from graphopt.quantise.memory import Memory
from graphopt.run.stamps import digest, file_digest
from graphopt.train.data import open_photographs, photographs_digest
from graphopt.train.data.noise import Gaussian
from graphopt.train.quantising import patches_of, quantise_on

ORIGINAL = "nafnet-width16"
SIGMAS = (10.0, 55.0)  # what the networks that ship were trained on, and so what ranges are found on


@dataclass(frozen=True)
class Case:
    """A network in float, the target that it is quantised for, by which of the quantiser's rules, and the name that its
    quantised form has, where that ships.
    """

    network: str
    target: str
    device: str
    ships: str = ""

    def shipped(self, precision: str) -> str:
        """The name that its form in this precision has; empty where it does not ship."""
        return self.ships if self.ships in SHIPPED and SHIPPED[self.ships].precision == precision else ""


CASES = (
    Case("nafnet-width16-hexagon", "sm8650-hexagon", "qnn", "nafnet-width16-hexagon-w8a8"),
    Case("nafnet-width16-onnxruntime", "host-onnxruntime", "cpu"),
    Case("nafnet-width16-hexagon", "host-onnxruntime", "cpu"),
)


class Networks:
    """Every network as a file, at `size`. What is quantised here is kept in `cache`; ranges come from photographs."""

    def __init__(self, photographs: Sequence[Path], size: tuple[int, int], cache: Path, say: Progress):
        self.size, self.cache, self.say = size, cache, say
        self.photographs = open_photographs(photographs)

    def model(self, name: str) -> onnx.ModelProto:
        """In float, at its size."""
        return load_source(find_model(name, Path()), self.size, self.cache / "exports")[0]

    def file(self, case: Case, precision: str) -> tuple[Path, str]:
        """The network of a case in a precision, and how it came to it."""
        if precision == "fp32":
            return find_model(case.network, Path()), "as it ships"
        if name := case.shipped(precision):
            return SHIPPED[name].path, "as it ships"
        given = file_digest(find_model(case.network, Path()))
        if precision == "fp16":
            return self._kept(f"fp16-{digest(given, self.size)}", lambda: to_fp16(self.model(case.network))), "halved"
        key = digest(given, self.size, precision, case.device, photographs_digest(self.photographs), SIGMAS)
        return self._kept(f"{precision}-{key}", lambda: self._quantised(case, precision)), "after training"

    def _quantised(self, case: Case, precision: str) -> onnx.ModelProto:
        model = self.model(case.network)
        memory = Memory(CostCache(self.cache / "costs"))
        patches = patches_of(model, self.photographs, Gaussian(*SIGMAS), "--train")
        return quantise_on(model, patches, precision, case.device, self.say, memory=memory).quantised.model

    def _kept(self, name: str, make: Callable[[], onnx.ModelProto]) -> Path:
        path = self.cache / "precision" / f"{name}.onnx"
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                onnx.save(make(), temporary)
        return path
