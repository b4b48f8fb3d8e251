"""Packed Bayer RAW: what the sensor sees, its phase, its noise; networks of four channels train on it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from graphs import Call
from PIL import Image
from pydantic import ValidationError

from graphopt.config.data import DataConfig, EvaluationData, TrainData
from graphopt.errors import GraphoptError
from graphopt.models.checkpoints import load_checkpoint
from graphopt.models.feature_align import FeatureAlignNet
from graphopt.models.nafnet import NAFNet
from graphopt.train.data import PackedRaw, PatchSampler, noise_of, open_photographs, packed_of, pairs_of, to_planes
from graphopt.train.data.bayer import pack
from graphopt.train.data.unprocess import Camera, RawNoise

SILENT = RawNoise((1e-12, 1e-12), (1e-14, 1e-14))
TAIL = "output: w.safetensors\nsteps: 3\nsmall: [2, 16]\nlarge: [1, 16]\nthreads: 1\nsave_every: 2\n"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    random = np.random.default_rng(0)
    for position in range(2):
        coarse = random.integers(30, 220, (5, 6, 3), np.uint8)
        Image.fromarray(coarse).resize((97, 65), Image.Resampling.BICUBIC).save(folder / f"{position}.png")
    return folder


def test_packing_keeps_every_pixel_in_its_place() -> None:
    raw = np.arange(24, dtype=np.float32).reshape(4, 6)
    packed = pack(raw)
    assert packed.shape == (4, 2, 3)
    np.testing.assert_array_equal(packed[:, 0, 0], [0, 1, 6, 7])  # R G over G B
    np.testing.assert_array_equal(packed[:, 1, 2], [16, 17, 22, 23])


def test_the_clean_target_is_what_the_sensor_sees_of_each_colour() -> None:
    image = np.random.default_rng(3).random((3, 9, 13), np.float32)  # an odd last row and column go
    noisy, clean = PackedRaw(SILENT)(image, np.random.default_rng(5))
    colours = Camera.random(np.random.default_rng(5)).unprocess(image)[:, :8, :12]
    assert clean.shape == noisy.shape == (4, 4, 6)
    assert clean.dtype == noisy.dtype == np.float32
    np.testing.assert_array_equal(clean[0], colours[0, 0::2, 0::2])
    np.testing.assert_array_equal(clean[1], colours[1, 0::2, 1::2])
    np.testing.assert_array_equal(clean[2], colours[1, 1::2, 0::2])
    np.testing.assert_array_equal(clean[3], colours[2, 1::2, 1::2])
    np.testing.assert_allclose(noisy, clean, rtol=0, atol=1e-5)


@pytest.mark.parametrize("level", [0.2, 0.5, 0.9])
def test_the_noise_is_poisson_gaussian_and_white(level: float) -> None:
    shot, read = 2e-3, 1e-4
    noisy, clean = PackedRaw(RawNoise((shot, shot), (read, read)))(
        np.full((3, 256, 256), level, np.float32), np.random.default_rng(0)
    )
    noise = noisy - clean
    assert [len(np.unique(plane)) for plane in clean] == [1] * 4
    np.testing.assert_allclose(noise.var((1, 2)), shot * clean[:, 0, 0] + read, rtol=0.05)
    np.testing.assert_allclose(noise.mean((1, 2)), 0, atol=1e-3)
    for first, second in ((noise[1], noise[2]), (noise[0, :, 1:], noise[0, :, :-1])):  # no demosaicing mixed them
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03


def test_every_crop_keeps_the_phase_of_the_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = Camera(np.eye(3), np.ones(3))
    monkeypatch.setattr(Camera, "random", classmethod(lambda cls, random: camera))
    flat = np.broadcast_to(np.array([200, 120, 40], np.uint8), (37, 41, 3))
    sampler = PatchSampler([flat], 0, np.random.default_rng(0), packed=PackedRaw(SILENT))
    red, green, blue = camera.unprocess(to_planes(flat[:1, :1])).ravel()
    assert red > 2 * green > 4 * blue
    noisy, clean = sampler.batch(40, 8)  # any offset, turn and flip
    assert noisy.shape == clean.shape == (40, 4, 8, 8)
    expected = np.broadcast_to(np.array([red, green, green, blue])[:, None, None], (40, 4, 8, 8))
    np.testing.assert_allclose(clean, expected, rtol=1e-6)


def test_configuration() -> None:
    short = TrainData.model_validate({"train": ["a"], "noise": "bayer"})
    long = TrainData.model_validate({"train": ["a"], "noise": {"packed": True}})
    assert short == long
    assert packed_of(short) == PackedRaw(RawNoise())
    assert packed_of(TrainData.model_validate({"train": ["a"], "noise": "raw"})) is None
    assert packed_of(TrainData.model_validate({"train": ["a"]})) is None
    ranged = TrainData.model_validate({"train": ["a"], "noise": {"packed": True, "shot": [1e-3, 2e-3]}})
    assert packed_of(ranged) == PackedRaw(RawNoise((1e-3, 2e-3)))
    pair = {"noisy": "a", "clean": "b"}
    for kind, content in (
        (TrainData, {"train": [pair]}), (EvaluationData, {"test": ["a", {"sidd": "b"}]}),
    ):  # fmt: skip
        with pytest.raises(ValidationError, match="'noise: bayer' makes RAW of clean images; pairs have their noise"):
            kind.model_validate({**content, "noise": "bayer"})
    with pytest.raises(ValidationError, match="a pipeline takes RGB images; 'noise: bayer' is for"):
        DataConfig.model_validate({"train": ["a"], "test": ["a"], "noise": "bayer"})


def test_pairs_in_a_file_are_one_message(tmp_path: Path) -> None:
    import h5py

    with h5py.File(tmp_path / "pairs.h5", "w") as file:
        file["clean"] = file["noisy"] = np.zeros((2, 32, 32, 3), np.uint8)
    source = [{"h5": tmp_path / "pairs.h5"}]
    train = TrainData.model_validate({"train": source, "noise": "bayer"})
    with pytest.raises(GraphoptError, match="makes RAW of clean images, and found a pair"):
        PatchSampler.of_data(train, 0).batch(1, 8)
    test = EvaluationData.model_validate({"test": source, "noise": "bayer"})
    with pytest.raises(GraphoptError, match="makes RAW of clean images, and found a pair"):
        list(pairs_of(open_photographs(test.test), noise_of(test), packed=packed_of(test)))


@pytest.mark.parametrize(
    ("model", "kind", "specialities"),
    [
        ("{width: 4, encoder_blocks: [1], middle_blocks: 0, decoder_blocks: [1]}", NAFNet, "joint: true"),
        ("{network: feature-align, widths: [4, 8]}", FeatureAlignNet, "losses: {ms-ssim: 1, l1: 1}"),
    ],
)
def test_networks_of_four_channels_train_and_are_judged(
    model: str, kind: type, specialities: str, call: Call, photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "train.yaml").write_text(
        f"model: {model}\n{specialities}\ndata: {{train: [photographs], noise: bayer}}\n{TAIL}"
    )
    status, out, err = call("pretrain", "train.yaml")
    assert (status, out.strip()) == (0, "weights: w.safetensors"), err
    network = load_checkpoint(tmp_path / "w.safetensors")
    assert isinstance(network, kind)
    assert network.config.image_channels == 4
    (tmp_path / "judge.yaml").write_text("data: {test: [photographs], noise: bayer}\n")
    status, out, err = call("evaluate", "--model", "w.safetensors", "--data", "judge.yaml", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["sigma"] is None
    judged = EvaluationData.model_validate({"test": [photographs], "noise": "bayer"})
    pairs = list(pairs_of(open_photographs(judged.test), noise_of(judged), packed=packed_of(judged)))
    assert [pair[0].shape for pair in pairs] == [(4, 32, 48)] * 2
    expected = [-10 * np.log10(np.mean((np.clip(n, 0, 1).astype(float) - c) ** 2)) for n, c in pairs]
    assert found["noisy"]["psnr"] == pytest.approx(np.mean(expected), abs=1e-6)
    assert call("models", "export", "w.safetensors", "w.onnx", "--size", "32x32")[0] == 0
    by_onnx = json.loads(call("evaluate", "--model", "w.onnx", "--data", "judge.yaml", "--json")[1])
    assert by_onnx["psnr"] == pytest.approx(found["psnr"], abs=1e-3)
    for command in (("evaluate", "--data", "photographs"), ("denoise", "photographs/0.png", "out.png")):
        status, _, err = call(*command, "--model", "w.safetensors")
        assert status == 1
        assert (
            "w.safetensors: expected a network for RGB images, found 4 channels; packed Bayer RAW is judged by" in err
        )
    status, _, err = call("evaluate", "--model", "nafnet-width8-sigma25", "--data", "judge.yaml")
    assert status == 1
    assert "expected a network for packed Bayer RAW, which `noise: bayer` makes (4 channels), found 3 channels" in err
    status, _, err = call("evaluate", "--model", "w.safetensors", "--data", "judge.yaml", "--channel", "y")
    assert status == 1
    assert "packed Bayer RAW has no luma" in err


@pytest.mark.parametrize(
    ("model", "noise", "expected"),
    [
        (
            "{network: feature-align}",
            "raw",
            "give `image_channels: 3`, or `data: {noise: bayer}` to train it on packed",
        ),
        ("{width: 4, image_channels: 4}", "raw", "model nafnet: expected a network for RGB images, found 4 channels"),
        ("{width: 4, image_channels: 3}", "bayer", "expected a network for packed Bayer RAW (4 channels), found 3"),
        ("{network: mier, image_channels: 3}", "bayer", "leave out `image_channels`, or `noise: bayer`"),
    ],
)
def test_a_network_that_does_not_fit_the_data(
    model: str, noise: str, expected: str, call: Call, photographs: Path, tmp_path: Path
) -> None:
    (tmp_path / "train.yaml").write_text(f"model: {model}\ndata: {{train: [photographs], noise: {noise}}}\n{TAIL}")
    status, _, err = call("pretrain", "train.yaml")
    assert status == 1
    assert expected in err
    assert err.count("\n") == 1


def test_training_lowers_the_loss(call: Call, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text("data: {test: [photographs], noise: {packed: true, shot: [0.01, 0.01]}}\n")
    (tmp_path / "train.yaml").write_text(
        "model: {network: dncnn, depth: 3, width: 8}\nlearning_rate: 0.005\nema: 0.9\n"
        "data: {train: [photographs], noise: {packed: true, shot: [0.01, 0.01]}, vary: false}\n"
        "output: w.safetensors\nsteps: 200\nsmall: [4, 16]\nlarge: [4, 16]\nthreads: 1\n"
    )
    assert call("pretrain", "train.yaml")[0] == 0
    found = json.loads(call("evaluate", "--model", "w.safetensors", "--data", "judge.yaml", "--json")[1])
    assert found["psnr"] > found["noisy"]["psnr"] + 1.2
