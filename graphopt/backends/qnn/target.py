"""What the file of an NPU target holds: the chip to compile for, and the parameters of the regression."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from graphopt.config.keys import Strict
from graphopt.cost.target import Fact, Target

_UNITS = {
    "launch": "ms",
    "per_gmac": "ms/GMAC",
    "per_megabyte": "ms/MB",
    "per_supertile": "ms",
    "per_million_convolved": "ms",
    "per_million_scaled": "ms",
    "per_million_border": "ms",
    "per_million_joined": "ms",
    "supertile_exponent": "1",
    "calibrated_supertiles": "1",
    "spread": "1",
    "spread_beyond": "1",
}


class NpuCompiler(Strict):
    """The chip that Qualcomm's offline compiler compiles for, how long one network may take it, and how long one run
    may take its emulator.
    """

    soc_model: int = Field(ge=1, description="Qualcomm's number of the chip: 57 is sm8650")
    htp_arch: int = Field(ge=68, description="version of the Hexagon architecture")
    time_limit_s: float = Field(900, gt=0)
    emulator_limit_s: float = Field(600, gt=0)


class NpuModel(Strict):
    """Parameters of the NPU's regression (see `qnn.regression.price`)."""

    launch: Fact
    per_gmac: Fact
    per_megabyte: Fact
    per_supertile: Fact
    supertile_exponent: Fact
    calibrated_supertiles: Fact
    spread: Fact
    spread_beyond: Fact

    @model_validator(mode="after")
    def _consistent(self) -> NpuModel:
        _check_units(self)
        if min(self.spread.value, self.spread_beyond.value) < 1:
            raise ValueError("'spread' and 'spread_beyond' are factors and at least 1")
        if not 0 < self.supertile_exponent.value <= 1:
            raise ValueError("'supertile_exponent' is above 0 and at most 1")
        return self


class QuantisedNpuModel(Strict):
    """Parameters of the regression of a quantised network (see `qnn.quantised.terms`)."""

    launch: Fact
    per_gmac: Fact
    per_megabyte: Fact
    per_million_convolved: Fact
    per_million_scaled: Fact
    per_million_border: Fact
    per_million_joined: Fact
    spread: Fact

    @model_validator(mode="after")
    def _consistent(self) -> QuantisedNpuModel:
        _check_units(self)
        if self.spread.value < 1:
            raise ValueError("'spread' is a factor and at least 1")
        return self


def _check_units(model: NpuModel | QuantisedNpuModel) -> None:
    for name in type(model).model_fields:
        found, unit = getattr(model, name).unit, _UNITS[name]
        if found != unit:
            raise ValueError(f"'{name}' is given in '{found}', expected '{unit}'")


class NpuTarget(Target):
    """A Hexagon NPU. A quantised network is priced by the `npu_model_quantised` of the precision of its activations."""

    npu_compiler: NpuCompiler
    npu_model: NpuModel
    npu_model_quantised: dict[Literal["w8a8", "w8a16"], QuantisedNpuModel] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_its_kind(cls, content: Any) -> Any:
        given = content if isinstance(content, dict) else {}
        is_npu = given.get("device", "hexagon") == "hexagon"
        if not given.get("npu_compiler") or not given.get("npu_model") or not is_npu:
            raise ValueError("a qnn target, and no other, has 'npu_compiler', 'npu_model', and 'device' hexagon")
        if "kernel_model" in given or "tuning" in given:
            raise ValueError("a qnn target has no 'kernel_model' and no 'tuning'")
        return content
