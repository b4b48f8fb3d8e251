"""`graphopt denoise` and `graphopt evaluate`: an image restored, images judged, and mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Call
from PIL import Image
from rated import install_rated, rated_bundle
from skimage.metrics import peak_signal_noise_ratio

from graphopt.train.data import Gaussian, open_photographs, pairs_of


def test_denoise_restores_an_image_of_any_size(call: Call, halver: Path, photographs: Path, tmp_path: Path) -> None:
    status, out, err = call("denoise", photographs / "0.png", tmp_path / "new" / "out.png", "--model", halver)
    assert (status, err) == (0, "")
    assert out.strip() == str(tmp_path / "new" / "out.png")
    source = np.asarray(Image.open(photographs / "0.png")).astype(float)
    found = np.asarray(Image.open(tmp_path / "new" / "out.png"))
    assert found.shape == (21, 34, 3)
    np.testing.assert_allclose(found, 0.5 * source + 0.25 * 255, rtol=0, atol=0.51)


def test_denoise_with_the_shipped_network(call: Call, tmp_path: Path) -> None:
    rows, columns = np.mgrid[:40, :50]
    clean = np.stack([127 + 90 * np.sin(rows / 9) * np.cos(columns / (8 + c)) for c in range(3)], -1)
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    assert call("denoise", tmp_path / "noisy.png", tmp_path / "out.png")[0] == 0
    found = np.asarray(Image.open(tmp_path / "out.png")).astype(float)
    before, after = (peak_signal_noise_ratio(clean, image.astype(float), data_range=255) for image in (noisy, found))
    assert after > before + 3


def test_evaluate_as_json(call: Call, halver: Path, photographs: Path) -> None:
    status, out, err = call("evaluate", "--model", halver, "--data", photographs, "--sigma", 10, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    pairs = pairs_of(open_photographs([photographs]), Gaussian(10, 10))
    restored = [(0.5 * noisy + 0.25, clean) for noisy, clean in pairs]
    expected = np.mean([peak_signal_noise_ratio(clean, np.clip(r, 0, 1), data_range=1) for r, clean in restored])
    assert found["psnr"] == pytest.approx(expected, abs=1e-3)
    assert 0 < found["ssim"] < 1
    assert found["sigma"] == 10
    assert found["provenance"] == "measured"
    assert found["noisy"]["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=0.5)
    assert call("evaluate", "--model", halver, "--data", photographs, "--sigma", 10, "--json")[1] == out


def test_evaluate_for_people(call: Call, halver: Path, photographs: Path) -> None:
    status, out, _ = call("evaluate", "--model", halver, "--data", photographs)
    assert status == 0
    first, second = out.splitlines()
    assert first.startswith("psnr ")
    assert first.endswith("(measured)")
    assert second.startswith("noisy input: psnr 20.")


def test_a_negative_sigma_is_refused(call: Call, halver: Path, photographs: Path) -> None:
    status, _, err = call("evaluate", "--model", halver, "--data", photographs, "--sigma=-3")
    assert status == 2
    assert "--sigma" in err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["denoise", "gone.png", "out.png"], "image gone.png does not exist"),
        (["denoise", "photographs/0.png", "out.txt"], "cannot write out.txt"),
        (["denoise", "photographs/0.png", "half.onnx/out.png"], "image half.onnx/out.png cannot be written"),
        (["denoise", "half.onnx", "out.png"], "image half.onnx cannot be read"),
        (["denoise", "photographs/0.png", "out.png", "--model", "text.pth"], "text.pth cannot be read as weights"),
        (["denoise", "photographs/0.png", "out.png", "--model", "text.onnx"], "text.onnx is not a valid ONNX file"),
        (["evaluate", "--model", "half.onnx", "--data", "gone"], "image folder gone does not exist"),
        (["evaluate", "--model", "half.onnx", "--data", "empty"], "image folder empty holds no images"),
        (
            ["evaluate", "--model", "half.onnx", "--data", "small"],
            "SSIM needs images of 11x11 or more, found one of 5x40",
        ),
    ],
    ids=lambda value: " ".join(map(str, value))[:50],
)
@pytest.mark.usefixtures("halver", "photographs")
def test_a_mistake_is_one_line(
    arguments: list[Any], expected: str, mistake: Callable[..., str], tmp_path: Path
) -> None:
    for name in ("text.pth", "text.onnx"):
        (tmp_path / name).write_text("words")
    (tmp_path / "empty").mkdir()
    (tmp_path / "small").mkdir()
    Image.fromarray(np.zeros((5, 40, 3), np.uint8)).save(tmp_path / "small" / "a.png")
    assert expected in mistake(*arguments)
    assert not (tmp_path / "out.png").exists()


def test_denoise_and_evaluate_with_a_bundle(
    call: Call, halver: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_rated(tmp_path, monkeypatch)
    bundle = rated_bundle(tmp_path, onnx.load(halver), (16, 16), 4, 1).folder
    for name, model in (("bundle", bundle), ("file", halver)):
        assert call("denoise", photographs / "0.png", tmp_path / f"{name}.png", "--model", model)[0] == 0
    found, expected = (np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int) for name in ("bundle", "file"))
    assert np.abs(found - expected).max() <= 1  # a pointwise network sees no tiles
    scores = [
        json.loads(call("evaluate", "--model", model, "--data", photographs, "--json")[1])["psnr"]
        for model in (bundle, halver)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-4)


def test_a_bundle_that_was_changed(
    mistake: Callable[..., str], halver: Path, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_rated(tmp_path, monkeypatch)
    folder = rated_bundle(tmp_path, onnx.load(halver), (16, 16), 4, 1).folder
    (folder / "mine.onnx").write_bytes(b"another network")
    said = mistake("denoise", photographs / "0.png", tmp_path / "out.png", "--model", folder)
    assert "mine.onnx is not the file that manifest.json names: its hash differs" in said


def test_a_folder_that_is_no_bundle(mistake: Callable[..., str], photographs: Path) -> None:
    said = mistake("evaluate", "--model", photographs, "--data", photographs)
    assert "photographs is no bundle: manifest.json cannot be read" in said
