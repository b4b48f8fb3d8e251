"""Sources side by side, calibration images, and a YAML file that names them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Call
from photographs import photographs, picture, save, source

from graphopt.config.data import TrainData
from graphopt.train.data import Gaussian, PatchSampler, calibration, photographs_digest, to_planes  # fmt: skip
from graphopt.train.metrics import View, psnr


def test_pairs_and_clean_photographs_side_by_side(pairs: dict[str, str], tmp_path: Path) -> None:
    save(tmp_path / "more" / "a.png", np.full((20, 30, 3), 128, np.uint8))
    data = TrainData(train=[tmp_path / "more", *source(**pairs).train], sigma=10, vary=False)
    noisy, clean = PatchSampler.of_data(data, 0).batch(60, 8)
    flat = clean.std((1, 2, 3)) == 0
    assert 5 < flat.sum() < 55
    assert ((noisy - clean)[flat] * 255).std() == pytest.approx(10, rel=0.05)
    assert ((noisy - clean)[~flat] * 255).std() > 80


def test_digest_and_calibration(pairs: dict[str, str]) -> None:
    found = photographs(**pairs)
    before = photographs_digest(found)
    assert photographs_digest(photographs(**pairs)) == before
    middle = calibration(found, 2, (8, 10), Gaussian(25, 25))
    assert [image.shape for image in middle] == [(1, 3, 8, 10)] * 2
    np.testing.assert_array_equal(middle[1][0], to_planes(picture(20, 30, 1))[:, 6:14, 10:20])
    save(Path(pairs["clean"]) / "1.bmp", picture(20, 30, 77))
    assert photographs_digest(photographs(**pairs)) != before


def test_evaluate_reads_the_data_of_a_yaml_file(call: Call, pairs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: other\ndata: {train: [gone], test: [{noisy: noisy, clean: clean}]}\n")
    save_network(tmp_path / "identity.onnx")
    arguments = ("--model", tmp_path / "identity.onnx", "--data", tmp_path / "run.yaml", "--channel", "y", "--json")
    status, out, err = call("evaluate", *arguments)
    assert (status, err) == (0, "")
    found = json.loads(out)
    planes = [(to_planes(picture(20, 30, i)), to_planes(picture(20, 30, 10 + i))) for i in range(3)]
    assert found["psnr"] == pytest.approx(np.mean([psnr(*pair, View("y")) for pair in planes]), abs=1e-4)
    assert found["channel"] == "y"


def save_network(path: Path) -> None:
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[1,3,32,32] x) => (float[1,3,32,32] y) {y = Identity(x)}'
        ),
        path,
    )
