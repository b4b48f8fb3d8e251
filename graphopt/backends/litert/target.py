"""What the file of a LiteRT target holds: the delegate that computes, and the exact passes that it needs."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from graphopt.backends.host import HostTarget
from graphopt.config.precision import FLOATS, Precision, is_integer
from graphopt.errors import GraphoptError
from graphopt.ir.contract import Contract
from graphopt.ir.registry import pass_class


class LiteRtTarget(HostTarget):
    """`delegate`: cpu is XNNPACK, gpu the phone's GPU. `prepare`: exact passes, applied in this order until nothing
    changes, before a network is converted; what the search and the ONNX file see stays as it is.
    """

    delegate: Literal["cpu", "gpu"]
    prepare: tuple[str, ...] = Field(default=())

    def with_precision(self, precision: Precision) -> Self:
        """Raises GraphoptError: integers on a GPU, whose delegate has none."""
        if self.delegate == "gpu" and is_integer(precision):
            raise GraphoptError(f"target {self.name} has no {precision}: LiteRT's GPU delegate computes in floats")
        return super().with_precision(precision)

    @field_validator("prepare")
    @classmethod
    def _exact(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if pass_class(name).contract is not Contract.EXACT:
                raise ValueError(f"pass '{name}' is not exact, and would change what was tuned")
        return names

    @model_validator(mode="before")
    @classmethod
    def _of_its_kind(cls, content: Any) -> Any:
        given = content if isinstance(content, dict) else {}
        if given.get("delegate") == "gpu" and given.get("device") != "android":
            raise ValueError("the delegate 'gpu' runs on a phone: expected 'device: android'")
        if given.get("delegate") == "gpu" and given.get("precision") not in (None, *FLOATS):
            raise ValueError(f"the delegate 'gpu' computes in floats: expected 'precision: {' or '.join(FLOATS)}'")
        return content
