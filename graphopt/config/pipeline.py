"""The file of `graphopt run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    Field,
    model_validator,
)

from graphopt.config.data import DataConfig
from graphopt.config.deploy import DeployConfig
from graphopt.config.keys import Strict
from graphopt.config.precision import Precision
from graphopt.config.quantise import QuantiseConfig
from graphopt.config.search import SearchConfig
from graphopt.config.training import FinetuneConfig
from graphopt.errors import did_you_mean


class PassSpec(Strict):
    """A pass by name or by path (`./my_pass.py`), with its options. In YAML: `name` or `{name: {option: value}}`."""

    name: str
    options: dict[str, Any] = Field(default={})

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and not {"name", "options"} & value.keys():
            name, options = next(iter(value.items()))
            return {"name": name, "options": options or {}}
        return value


class PublishedConfig(Strict):
    """A paper's ratios of after to before, which the report sets beside those that a run finds."""

    source: str = Field(min_length=1)
    latency: float | None = Field(default=None, gt=0)
    memory: float | None = Field(default=None, gt=0)
    parameters: float | None = Field(default=None, gt=0)
    psnr: float | None = Field(default=None, gt=0)


class PipelineConfig(Strict):
    """`graphopt run`: from a pretrained network to a faster one. Relative paths are relative to the file."""

    model: str
    resolution: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] | None = None
    run: Path | None = Field(
        default=None, description="run folder, relative to where the command is run; runs/NAME by default"
    )
    data: DataConfig
    passes: list[PassSpec] = Field(min_length=1)
    exclude: list[str] = Field(default=[], description="globs of site names that are left alone, e.g. 'middle_blks*'")
    targets: dict[str, Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="weights in the search; a target of weight 0 is priced and compiled for only"
    )
    precision: Precision | dict[str, Precision] = Field(
        default={}, description="of all targets, or by target; otherwise what a target's file says"
    )
    trials: int = Field(default=16, ge=0, description="MetaSchedule trials for each network on the host")
    threads: int | None = Field(default=None, ge=1)
    search: SearchConfig = SearchConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    quantise: QuantiseConfig = QuantiseConfig()
    deploy: DeployConfig = DeployConfig()
    published: PublishedConfig | None = Field(default=None, description="a paper's ratios, for the report")

    @model_validator(mode="after")
    def _some_target(self) -> PipelineConfig:
        if not any(self.targets.values()):
            raise ValueError("'targets': at least one target needs a weight above 0")
        if isinstance(self.precision, dict):
            for name in self.precision:
                if name not in self.targets:
                    raise ValueError(
                        f"key 'precision.{name}': 'targets' lists no such target; {did_you_mean(name, self.targets)}"
                    )
        return self
