"""What `graphopt evaluate --data` names: a folder of photographs, or a YAML file whose `data` says what to judge by."""

from __future__ import annotations

from pathlib import Path

from graphopt.config.data import EvaluationData, JudgeConfig
from graphopt.config.reading import read_config

SIGMA = 25  # of the noise, where nothing says another


def read_judged(data: Path, sigma: float | None) -> EvaluationData:
    """`sigma`, of noise on the scale 0-255, goes before what the YAML file says of noise."""
    found: EvaluationData = EvaluationData(test=[data], sigma=SIGMA)
    if data.suffix in (".yaml", ".yml"):
        found = read_config(data, JudgeConfig).data
    return found if sigma is None else EvaluationData(test=found.test, sigma=sigma)
