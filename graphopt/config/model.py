"""`model:` of a pretraining, the network to build."""

from __future__ import annotations

from typing import Any

from pydantic import (
    Field,
    model_validator,
)

from graphopt.config.keys import Count, Strict


class ModelConfig(Strict):
    """The network to build: a NAFNet (`width`, and blocks at each level), or `network` and its options beside it."""

    network: str = Field(
        default="nafnet", description="a name of `graphopt models list`; a NAFNet where it is not given"
    )
    options: dict[str, Any] = Field(default={}, description="those of `network`; in YAML they stand beside its name")
    image_channels: int | None = Field(default=None, ge=1, description="3, or 4 where `data` is packed Bayer RAW")
    width: int = Field(default=32, ge=1)
    encoder_blocks: tuple[Count, ...] = (2, 2, 4, 8)
    middle_blocks: int = Field(default=12, ge=0)
    decoder_blocks: tuple[Count, ...] = (2, 2, 2, 2)

    @model_validator(mode="before")
    @classmethod
    def _options_of_another(cls, value: Any) -> Any:
        """Only the network that is built knows its options: it checks them."""
        if not isinstance(value, dict) or value.get("network", "nafnet") == "nafnet" or "options" in value:
            return value
        return {"network": value["network"], "options": {k: v for k, v in value.items() if k != "network"}}

    @model_validator(mode="after")
    def _same_levels(self) -> ModelConfig:
        if self.options and self.network == "nafnet":
            raise ValueError("'options' belong to a 'network'; give its name")
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            raise ValueError("'encoder_blocks' and 'decoder_blocks' must have the same length")
        return self
