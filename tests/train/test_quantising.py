"""Photographs in two, those that ranges are found on and those that judge, and what is measured on each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import onnx_model
from photographs import picture, save

from graphopt.errors import GraphoptError
from graphopt.ir.canonical import canonical
from graphopt.train.data import Gaussian, Photograph, open_photographs
from graphopt.train.quantising import Outcome, _pairs, patches_of, quantise_on

NOISE = Gaussian(25, 25)
TEXT = "(float[1,3,16,16] x) => (float[1,3,16,16] y) { y = Conv(x, w) }"


def model(channels: int = 3) -> onnx.ModelProto:
    """Nearly the identity."""
    mixed = (0.9 * np.eye(3) + 0.033).astype(np.float32)[:, :channels, None, None]
    return canonical(onnx_model(TEXT.replace("1,3,16,16] x", f"1,{channels},16,16] x"), {"w": mixed}), None, "model")


def folder(path: Path, photographs: int) -> Path:
    for number in range(photographs):
        save(path / f"{number}.png", picture(20, 40, number))
    return path


def quantised(photographs: Path, network: onnx.ModelProto | None = None) -> Outcome:
    network = network or model()
    patches = patches_of(network, open_photographs([photographs]), NOISE, str(photographs))
    return quantise_on(network, patches, "w8a8", "cpu")


def test_one_of_four_judges(tmp_path: Path) -> None:
    found = quantised(folder(tmp_path, 5))
    assert found.patches == (8, 2)  # two of each photograph: 16x16 of 20x40
    assert not found.quantised.has_few
    assert found.held_out[1] == found.quantised.scores[found.quantised.method] == max(found.quantised.scores.values())
    assert found.loss == found.held_out[0] - found.held_out[1]
    assert abs(found.loss) < 0.05
    assert abs(found.seen_loss) < 0.05


def test_of_two_photographs_one_judges(tmp_path: Path) -> None:
    found = quantised(folder(tmp_path, 2))
    assert found.patches == (2, 2)
    assert found.quantised.has_few


def test_patches_are_the_same_each_time_and_mirrored_where_too_small(tmp_path: Path) -> None:
    photographs = open_photographs([folder(tmp_path, 2)])
    first, again = (_pairs(photographs, (32, 32), NOISE, 3, 0) for _ in (0, 1))
    assert len(first) == 2
    for (noisy, clean), (same, _) in zip(first, again, strict=True):
        assert (noisy == same).all()
        assert (clean[:, 20:24] == clean[:, 19:15:-1]).all()
        assert np.std(noisy - clean) == pytest.approx(25 / 255, rel=0.05)


def test_noise_of_a_pair_is_its_own() -> None:
    clean = picture(20, 40, 1)
    pair = Photograph("pair", (), lambda: (clean, 255 - clean))
    for noisy, patch in _pairs([pair], (16, 16), NOISE, 4, 0):
        assert noisy == pytest.approx(1 - patch, abs=1e-6)


def test_one_photograph_cannot_judge_itself(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="holds one photograph; give two or more"):
        quantised(folder(tmp_path, 1))


def test_a_network_for_other_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"RGB images \(1, 3, H, W\), found an input of \(1, 1, 16, 16\)"):
        quantised(folder(tmp_path, 2), model(1))
