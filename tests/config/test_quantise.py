"""`quantise:` of a pipeline: its defaults, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from graphopt.config.quantise import QuantiseConfig


def test_defaults() -> None:
    assert QuantiseConfig().model_dump() == {"images": 16, "mixed": 0}


@pytest.mark.parametrize("wrong", [{"images": 0}, {"mixed": -0.1}, {"mixed": 1.5}, {"bits": 4}])
def test_what_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        QuantiseConfig.model_validate(wrong)
