"""`search:` of a pipeline."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    field_validator,
    model_validator,
)

from graphopt.config.keys import Count, Patches, Strict
from graphopt.config.methods import METHODS, readers
from graphopt.errors import did_you_mean

Share = Annotated[float, Field(gt=0, le=1)]


def _known(value: str) -> str:
    if value not in METHODS:
        raise ValueError(f"'{value}' is not known; {did_you_mean(value, METHODS)}")
    return value


class ObjectiveConfig(Strict):
    """Goals beside the latency, as shares of the original's, and how those methods weigh them that have a sum."""

    memory: Share | None = None
    parameters: Share | None = None
    targets: Literal["mix", "worst"] = Field(
        default="mix", description="several targets: their weighted sum, or the one that is furthest from its goal"
    )
    memory_weight: float = Field(default=40.0, ge=0)
    parameter_weight: float = Field(default=40.0, ge=0)

    @model_validator(mode="after")
    def _weights_of_goals(self) -> ObjectiveConfig:
        for weight, goal in (("memory_weight", "memory"), ("parameter_weight", "parameters")):
            if weight in self.model_fields_set and getattr(self, goal) is None:
                raise ValueError(f"'{weight}' is the weight of a goal that is not asked for; give '{goal}', too")
        return self


class SearchConfig(Strict):
    """The search. `latency`: the goal, as a share of the original's, on every searched target."""

    method: str = Field(default="entropy", description=", ".join(METHODS))
    latency: Share = 0.6
    objective: ObjectiveConfig = ObjectiveConfig()
    pareto: list[Share] = Field(default=[], description="further goals, for a front of networks")
    baselines: list[str] = Field(default=[], description="further methods, to be drawn beside the front")
    steps: int = Field(
        default=260, ge=1, description="batches forward and backward, of every method; a batch forward is a third"
    )
    patches: Patches = Field(default=(8, 64), description="patches in a batch, and their size")
    held_out: float = Field(default=0.25, gt=0, lt=1, description="share of the photographs that choices are made on")
    learning_rate: float = Field(default=1e-3, gt=0)
    distillation: float = Field(default=0.5, ge=0, description="weight of the loss against the original's output")
    wholes: int = Field(
        default=24, ge=0, description="whole networks priced to aim by, on targets whose parts do not add up (the NPU)"
    )
    contenders: int = Field(
        default=32, ge=1, description="selections that `entropy` chooses from; fewer where judging takes too long"
    )
    spread: float = Field(
        default=0.5,
        ge=0,
        description="by how much sensitivities vary between contenders: s times exp(spread * N(0, 1))",
    )
    warm_up_steps: int = Field(default=20, ge=0, description="steps that train all candidates before any choice")
    choice_learning_rate: float = Field(default=0.1, gt=0)
    sensitivity: float = Field(default=3.0, ge=0, description="weight of what each candidate alone loses, in dB")
    sensitivity_start: float = Field(default=10.0, ge=0, description="logits start at minus this times it")
    settle: float = Field(
        default=0.5, ge=0, lt=1, description="share of the steps after the warm-up that train the chosen network alone"
    )
    entropy: float = Field(default=3.0, ge=0, description="largest weight of the normalised entropy")
    latency_weight: float = Field(default=40.0, ge=0)
    temperature: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 0.05)
    evaluations: int = Field(default=100, ge=2, description="networks that `random` and `evolution` judge")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    record_every: int = Field(default=10, ge=1)
    seed: Count = 0

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        return _known(value)

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, value: list[str]) -> list[str]:
        return [_known(name) for name in value]

    @model_validator(mode="after")
    def _warm_up_leaves_something(self) -> SearchConfig:
        reading = {self.method, *self.baselines} & set(readers("warm_up_steps"))
        if reading and self.warm_up_steps + 2 > self.steps:
            raise ValueError(
                f"'warm_up_steps' ({self.warm_up_steps}) leaves nothing of 'steps' ({self.steps}) for the choice by "
                f"{sorted(reading)[0]}; expected at least 2 steps more"
            )
        return self

    @model_validator(mode="after")
    def _options_are_read(self) -> SearchConfig:
        used = {self.method, *self.baselines}
        given = [*self.model_fields_set, *(f"objective.{name}" for name in self.objective.model_fields_set)]
        for option in sorted(given):
            reading = readers(option)
            if used.isdisjoint(reading):
                raise ValueError(
                    f"'{option}' is an option of the methods {', '.join(reading)}; leave it out, or set 'method' to "
                    f"one of them (now {self.method})"
                )
        return self
