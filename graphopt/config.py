"""What users may write in YAML: strict models, and errors that name the file, the key and the nearest known key."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, model_validator

from graphopt.errors import GraphoptError, did_you_mean


def _beside_config(value: Any, info: ValidationInfo) -> Any:
    """Relative paths in a YAML file are relative to that file."""
    folder = (info.context or {}).get("folder")
    return Path(folder) / value if folder is not None and isinstance(value, str | Path) else value


FilePath = Annotated[Path, BeforeValidator(_beside_config)]


class Strict(BaseModel):
    """No key that is not declared, no silent change of type, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelConfig(Strict):
    """A NAFNet to build: `width`, and the number of blocks at each level."""

    width: int = Field(32, ge=1)
    encoder_blocks: tuple[int, ...] = (2, 2, 4, 8)
    middle_blocks: int = Field(12, ge=0)
    decoder_blocks: tuple[int, ...] = (2, 2, 2, 2)


class PretrainConfig(Strict):
    """`graphopt pretrain`: the network, the photographs, and how long to train (`steps` or `minutes`)."""

    model: ModelConfig = ModelConfig()
    images: list[FilePath]
    output: FilePath
    sigma: float = Field(25, ge=0, description="standard deviation of the noise, on the scale 0-255")
    steps: int | None = Field(None, ge=1)
    minutes: float | None = Field(None, gt=0)
    learning_rate: float = Field(2e-3, gt=0)
    warm_up: float = Field(0.02, ge=0, lt=1)
    small: tuple[int, int] = Field((16, 64), description="patches in a batch, and their size")
    large: tuple[int, int] = Field((4, 128), description="the same for the last part of the training")
    large_share: float = Field(0.3, ge=0, le=1)
    ema: float = Field(0.999, ge=0, lt=1)
    clip_gradient: float = Field(1.0, gt=0)
    seed: int = 0
    threads: int | None = Field(None, ge=1)
    save_every: int = Field(500, ge=1)

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainConfig:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either 'steps' or 'minutes'")
        return self


ConfigT = TypeVar("ConfigT", bound=Strict)


def read_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """Reads and checks a YAML file; every mistake in it becomes one message."""
    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError as error:
        raise GraphoptError(f"config {path} does not exist") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GraphoptError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise GraphoptError(f"config {path}: expected keys and values, found {type(content).__name__}")
    return validate(content, kind, path)


def validate(content: dict[str, Any], kind: type[ConfigT], path: Path) -> ConfigT:
    """`content` as a `kind`; relative paths are taken relative to the folder of `path`."""
    try:
        return kind.model_validate(content, context={"folder": path.parent})
    except ValidationError as error:
        lines = "; ".join(_explain(detail, kind) for detail in error.errors())
        raise GraphoptError(f"config {path}: {lines}") from error


def _explain(detail: Any, kind: type[BaseModel]) -> str:
    location = [part for part in detail["loc"] if isinstance(part, str | int)]
    where = ".".join(str(part) for part in location) or "top level"
    if detail["type"] == "extra_forbidden":
        known = _keys_at(kind, location[:-1])
        return f"unknown key '{where}'; {did_you_mean(str(location[-1]), known)}"
    if detail["type"] == "missing":
        return f"key '{where}' is missing"
    found = detail.get("input")
    return f"key '{where}': {detail['msg'].removeprefix('Value error, ')}, found {found!r}"


def _keys_at(kind: type[BaseModel], location: list[str | int]) -> list[str]:
    """The keys that `kind` allows at a nested location."""
    model: Any = kind
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        nested = [a for a in _classes(field.annotation)] if field is not None else [model]
        model = next((a for a in nested if issubclass(a, BaseModel)), model)
    return list(model.model_fields)


def _classes(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _classes(part)]
