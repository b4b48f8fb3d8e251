"""Mistakes in the options of trainings, each in one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from configs import PRETRAIN, message

from graphopt.config.reading import validate
from graphopt.config.training import FinetuneConfig, PretrainConfig
from graphopt.errors import GraphoptError


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"minutes": 3}, "config.yaml: give either 'steps' or 'minutes'"),
        ({"steps": None}, "config.yaml: give either 'steps' or 'minutes'"),
        ({"steps": 0}, "key 'steps': "),
        ({"images": []}, "key 'images': "),
        ({"images": "photographs"}, "key 'images': "),
        ({"model": {"width": 0}}, "key 'model.width': "),
        ({"model": {"widht": 8}}, "unknown key 'model.widht'; did you mean 'width'?"),
        ({"model": {"encoder_blocks": [1, -1, 1, 1]}}, "key 'model.encoder_blocks.1': "),
        (
            {"model": {"encoder_blocks": [1, 1]}},
            "key 'model': 'encoder_blocks' and 'decoder_blocks' must have the same length",
        ),
        ({"ema": 1}, "key 'ema': Input should be less than 1"),
    ],
)
def test_mistakes_in_a_training(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    text = message(tmp_path, {**PRETRAIN, **changes}, PretrainConfig)
    assert expected in text
    assert len(text) < len(str(tmp_path)) + 250  # not the whole file again


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"losses": {"teacher": 1}}, "'losses' needs a weight above 0 for one of psnr, charbonnier, l1, l2, ms-ssim"),
        ({"losses": {"psrn": 1}}, "losses.psrn"),
        ({"losses": {"psnr": -1}}, "Input should be greater than or equal to 0, found -1"),
        ({"losses": {"psnr": 1}, "distillation": 1}, "give either 'distillation' or 'losses' with a weight for"),
        ({"patches": [6, 64], "accumulate": 4}, "'accumulate': 6 patches cannot be parted into 4 equal parts"),
        (
            {"patches": [2, 8], "losses": {"ms-ssim": 1}},
            "'losses': ms-ssim needs patches of 11 pixels or more, found 8",
        ),
        ({"quantised_steps": 9}, "'quantised_steps' trains a quantised network; give 'precision: w8a8' or"),
        ({"precision": "w8a8", "quantised_steps": -1}, "key 'quantised_steps': "),
        ({"precision": "fp16"}, "key 'precision': Input should be 'fp32', 'bf16', 'w8a8' or 'w8a16'"),
    ],
)
def test_mistakes_in_a_fine_tuning(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(GraphoptError) as caught:
        validate(changes, FinetuneConfig, Path("c.yaml"))
    assert expected in str(caught.value)
