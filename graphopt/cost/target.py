"""Targets: hardware facts in YAML, each with its unit and its source. What only one backend asks stands in its own."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import Field, model_validator

from graphopt.config.keys import Strict
from graphopt.config.precision import FLOATS, Float, Precision, refuse_dtype
from graphopt.errors import GraphoptError, did_you_mean

UNITS = {
    "fp32_peak": "GFLOPS",
    "fp16_peak": "GFLOPS",
    "dram_bandwidth": "GB/s",
    "dram_share": "1",
    "launch_overhead": "us",
    "launch_overhead_worst": "us",
    "max_threads": "1",
    "threads_to_fill": "1",
    "local_memory": "byte",
    "wave_size": "1",
    "vector_width": "1",
    "accumulators": "1",
    "special_function_rate": "1",
    "on_chip_memory": "byte",
}


class Fact(Strict):
    """One figure: its value, its unit, and where it comes from. A guess says `assumption` in its source."""

    value: float = Field(ge=0)
    unit: str
    source: str = Field(min_length=8)


class Target(Strict):
    """A device, as every backend sees it. `kind` says which backend runs networks there; its own `target_type` adds
    what else a file of this kind holds.
    """

    beside_integers: ClassVar[Float] = "float16"  # what is left of a quantised network computes in it
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    kind: str
    device: str
    precision: Precision = "fp16"
    facts: dict[str, Fact] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_today(cls, content: Any) -> Any:
        return refuse_dtype(content)

    @model_validator(mode="after")
    def _known_facts(self) -> Target:
        for name, fact in self.facts.items():
            if name not in UNITS:
                raise ValueError(f"unknown fact '{name}'; {did_you_mean(name, UNITS)}")
            if fact.unit != UNITS[name]:
                raise ValueError(f"fact '{name}' is given in '{fact.unit}', expected '{UNITS[name]}'")
        return self

    def fact(self, name: str) -> float:
        """The value of a fact, in the unit of `UNITS`."""
        if name not in self.facts:
            raise GraphoptError(f"target {self.name}: no fact '{name}'; {did_you_mean(name, self.facts)}")
        return self.facts[name].value

    def with_precision(self, precision: Precision) -> Self:
        """The same device, whose networks compute in another precision; one that its backend has."""
        return self.model_copy(update={"precision": precision})

    @property
    def dtype(self) -> Float:
        """The type of its floats."""
        return FLOATS.get(self.precision, self.beside_integers)

    @property
    def bytes_per_element(self) -> int:
        return 2 if self.dtype == "float16" else 4
