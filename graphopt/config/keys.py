"""What every configuration is made of: strict models, counts, paths relative to the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)


def _beside_config(value: Any, info: ValidationInfo) -> Any:
    """Relative paths in a YAML file are relative to that file."""
    folder = (info.context or {}).get("folder")
    return Path(folder) / value if folder is not None and isinstance(value, str | Path) else value


FilePath = Annotated[Path, BeforeValidator(_beside_config)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Patches = tuple[Positive, Positive]


class Strict(BaseModel):
    """No key that is not declared, no `yes` or infinity in place of a number, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        asked = info.field_name is not None and cls.model_fields[info.field_name].annotation is bool
        if isinstance(value, bool) and not asked:  # YAML reads yes and off as these, and pydantic takes them as 1 and 0
            raise ValueError("expected a number, a text or a list")
        return value
