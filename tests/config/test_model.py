"""A network by name, with its options beside it."""

from __future__ import annotations

from graphopt.config.model import ModelConfig
from graphopt.config.training import PretrainConfig


def test_options_of_a_network_stand_beside_its_name() -> None:
    given = ModelConfig.model_validate({"network": "dncnn", "depth": 5})
    assert (given.network, given.options) == ("dncnn", {"depth": 5})
    assert ModelConfig.model_validate(given.model_dump()).options == {"depth": 5}
    assert PretrainConfig.model_fields["model"].default.network == "nafnet"
