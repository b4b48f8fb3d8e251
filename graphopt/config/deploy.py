"""What is made of the network at the end: the sizes that artefacts take, and how larger images go through."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from graphopt.config.keys import Strict

Side = Annotated[int, Field(ge=16)]


class DeployConfig(Strict):
    """`resolution`: `[height, width]` of the artefacts, `free` for any (a runtime that has no free sizes gets `tile`);
    by default the one that the network was priced at. Larger images go through by tiles that share `overlap` pixels:
    of `tile` where sizes are free, of the artefact's own size elsewhere.
    """

    resolution: tuple[Side, Side] | Literal["free"] | None = None
    tile: Side = Field(default=256, description="height and width")
    overlap: int = Field(default=16, ge=0)

    @field_validator("resolution", mode="before")
    @classmethod
    def _a_size_or_free(cls, value: Any) -> Any:
        if value != "free" and not (isinstance(value, list | tuple) and len(value) == 2):
            raise ValueError("expected [height, width] or free")
        return value

    @model_validator(mode="after")
    def _read(self) -> DeployConfig:
        if "tile" in self.model_fields_set and self.resolution != "free":
            raise ValueError("'tile' is for 'resolution: free': an artefact of one size has tiles of that size")
        smallest = self.tile if self.resolution == "free" else min(self.resolution or (2 * self.overlap,))
        if "overlap" in self.model_fields_set and 2 * self.overlap > smallest:
            raise ValueError(f"'overlap' is {self.overlap}; expected at most half a tile, {smallest // 2}")
        return self
