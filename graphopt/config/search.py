"""`search:` of a pipeline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from graphopt.config.keys import Count, Patches, Strict
from graphopt.errors import did_you_mean

METHODS = (
    "entropy", "halving", "entropy-sites", "darts", "gumbel", "proxyless", "milp", "greedy", "evolution", "random",
)  # fmt: skip
_SITES = ("entropy-sites", "darts", "gumbel", "proxyless")
ONLY_OF = {  # options that other methods do not read
    **dict.fromkeys(("settle", "sensitivity", "entropy", "latency_weight", "choice_learning_rate"), _SITES),
    **dict.fromkeys(("contenders", "spread"), ("entropy", "halving")),
    "evaluations": ("evolution", "random"),
}
FORWARDS = ("soft", "gumbel", "path", "straight-through")
Share = Annotated[float, Field(gt=0, le=1)]


def _known(value: str, names: tuple[str, ...]) -> str:
    if value not in names:
        raise ValueError(f"'{value}' is not known; {did_you_mean(value, names)}")
    return value


class ObjectiveConfig(Strict):
    """What the hardware terms ask for beside the latency. Memory and parameters are shares of the original's."""

    targets: Literal["mix", "worst"] = Field(
        default="mix", description="several targets: their weighted sum, or the one that is furthest from its goal"
    )
    memory: Share | None = None
    parameters: Share | None = None
    memory_weight: float = Field(default=40.0, ge=0)
    parameter_weight: float = Field(default=40.0, ge=0)


class SearchConfig(Strict):
    """The search. `latency`: the goal, as a share of the original's, on every searched target."""

    method: str = Field(default="entropy", description=", ".join(METHODS))
    forward: str | None = Field(default=None, description=f"{', '.join(FORWARDS)}; the method's own by default")
    latency: Share = 0.6
    objective: ObjectiveConfig = ObjectiveConfig()
    pareto: list[Share] = Field(default=[], description="further goals, for a front of networks")
    baselines: list[str] = Field(default=[], description="further methods, to be drawn beside the front")
    warm_up_steps: int = Field(default=20, ge=0)
    steps: int = Field(default=120, ge=1)
    patches: Patches = Field(default=(8, 64), description="patches in a batch, and their size")
    matching_steps: int = Field(default=10, ge=0, description="steps that train each candidate alone to its site")
    matching_rate: float = Field(default=1e-2, gt=0)
    held_out: float = Field(default=0.25, gt=0, lt=1, description="share of the photographs that choices train on")
    learning_rate: float = Field(default=1e-3, gt=0)
    choice_learning_rate: float = Field(default=0.1, gt=0)
    distillation: float = Field(default=0.5, ge=0, description="weight of the loss against the original's output")
    sensitivity: float = Field(default=3.0, ge=0, description="weight of what each candidate alone loses, in dB")
    sensitivity_start: float = Field(default=10.0, ge=0, description="logits start at minus this times it")
    settle: float = Field(
        default=0.5, ge=0, lt=1, description="share of the steps, at the end, that train the chosen network alone"
    )
    contenders: int = Field(
        default=32, ge=1, description="selections that `entropy` chooses from; fewer where judging takes too long"
    )
    spread: float = Field(
        default=0.5,
        ge=0,
        description="by how much sensitivities vary between contenders: s times exp(spread * N(0, 1))",
    )
    entropy: float = Field(default=3.0, ge=0, description="largest weight of the normalised entropy")
    latency_weight: float = Field(default=40.0, ge=0)
    temperature: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 0.05)
    wholes: int = Field(
        default=24, ge=0, description="whole networks priced to aim by, on targets whose parts do not add up (the NPU)"
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    evaluations: int = Field(default=100, ge=2, description="networks that `random` and `evolution` judge")
    record_every: int = Field(default=10, ge=1)
    seed: Count = 0

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        return _known(value, METHODS)

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, value: list[str]) -> list[str]:
        return [_known(name, METHODS) for name in value]

    @field_validator("forward")
    @classmethod
    def _known_forward(cls, value: str | None) -> str | None:
        return value if value is None else _known(value, FORWARDS)

    @model_validator(mode="after")
    def _options_are_read(self) -> SearchConfig:
        used = {self.method, *self.baselines}
        for name, methods in ONLY_OF.items():
            if name in self.model_fields_set and used.isdisjoint(methods):
                raise ValueError(
                    f"'{name}' is an option of the methods {', '.join(methods)}; leave it out, or set 'method' to one "
                    f"of them (now {self.method})"
                )
        return self

    @property
    def budget(self) -> int:
        """Training steps of every method: each is a batch forward and backward; a batch forward counts a third."""
        return self.warm_up_steps + 2 * self.steps
