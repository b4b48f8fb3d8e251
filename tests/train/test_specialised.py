"""Networks specialised by noise range: each sees its own noise, a selector tells it, one file holds all."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from graphs import Call
from PIL import Image

from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.models.checkpoints import load_checkpoint
from graphopt.models.specialised import NoiseSelector, Specialised, range_of
from graphopt.train.commands import pretrain_to_file
from graphopt.train.data import PatchSampler
from graphopt.train.specialised import SigmaPatches, train_selector

TINY: dict[str, Any] = {"width": 4, "encoder_blocks": (1,), "middle_blocks": 0, "decoder_blocks": (1,)}


EDGES = (0.0, 15.0, 30.0, 60.0)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[:48, :64]
    for position in range(3):
        plane = 127 + 100 * np.sin(rows / (5 + position)) * np.cos(columns / 7)
        pixels = np.stack([plane, plane[::-1], np.roll(plane, 9, 1)], -1).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{position}.png")
    return folder


def configured(photographs: Path, output: Path, **changes: Any) -> PretrainConfig:
    content: dict[str, Any] = {
        "model": TINY, "output": output, "steps": 12, "small": (2, 16), "large": (1, 16), "threads": 1,
        "specialised": (15, 30), "selector_steps": 11, "save_every": 5, "ema": 0.8,
        "data": {"train": [photographs], "sigma": (0, 60), "vary": False},
    }  # fmt: skip
    given = {**content, **changes}
    return PretrainConfig.model_validate({key: value for key, value in given.items() if value is not None})


def silent(share: float, words: str) -> None:
    pass


def test_every_range_of_noise_comes_as_often_and_its_sigma_is_known() -> None:
    gray = np.full((64, 64, 3), 128, np.uint8)
    patches = SigmaPatches(PatchSampler([gray], 99, np.random.default_rng(0)), EDGES)
    noisy, sigma = patches.batch(150, 32)
    assert (noisy.shape, sigma.shape) == ((150, 3, 32, 32), (150,))
    np.testing.assert_allclose(255 * noisy.std((1, 2, 3)), sigma, rtol=0.06)
    counts = np.bincount(range_of(torch.from_numpy(sigma), EDGES[1:-1]).numpy(), minlength=3)
    assert counts.min() > 35  # 50 each; uniform in sigma, the first two would have 37 and 38, the last 75
    again = patches.seeded(1, 2).batch(2, 16)
    for first, second in zip(again, patches.seeded(1, 2).batch(2, 16), strict=True):
        np.testing.assert_array_equal(first, second)


def test_the_selector_learns_to_tell_ranges_apart(photographs: Path, tmp_path: Path) -> None:
    config = configured(photographs, tmp_path / "w", selector_steps=200, small=(16, 32), learning_rate=1e-2, ema=0.99)
    torch.manual_seed(0)
    said: list[str] = []
    selector = NoiseSelector(3)
    trained = train_selector(selector, config, tmp_path / "s.pt", lambda share, words: said.append(words))
    assert said[-1].startswith("step 200, ")
    assert said[-1].endswith("% of the patches in the right range")
    noisy, sigma = SigmaPatches(PatchSampler.of_data(config.source, 77), config.edges).seeded(5).batch(300, 32)
    with torch.no_grad():
        chosen = trained(torch.from_numpy(noisy)).argmax(1)
    assert (chosen == range_of(torch.from_numpy(sigma), config.edges[1:-1])).float().mean() > 0.9  # chance: 0.33


def test_each_network_sees_its_own_noise_alone(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[float]] = [[]]
    batch, build_new = PatchSampler.batch, PatchSampler.of_data.__func__  # type: ignore[attr-defined]

    def watched(self: PatchSampler, count: int, size: int) -> Any:
        noisy, clean = batch(self, count, size)
        seen[-1].append(255 * float((noisy - clean).std()))
        return noisy, clean

    def opened(cls: type[PatchSampler], *arguments: Any) -> PatchSampler:
        seen.append([])
        return build_new(cls, *arguments)

    monkeypatch.setattr(PatchSampler, "batch", watched)
    monkeypatch.setattr(PatchSampler, "of_data", classmethod(opened))
    config = configured(photographs, tmp_path / "w.safetensors")
    pretrain_to_file(config, silent)
    _, selectors, *networks = seen
    assert min(selectors) < 15
    assert max(selectors) > 30
    assert len(networks) == 3
    for (low, high), sigmas in zip(pairwise(EDGES), networks, strict=True):
        assert len(sigmas) > 12
        assert 0.9 * low < min(sigmas) < max(sigmas) < 1.1 * high
        assert max(sigmas) - min(sigmas) > 0.5 * (high - low)


def test_it_is_what_a_training_on_that_range_gives_bit_for_bit(photographs: Path, tmp_path: Path) -> None:
    config = configured(photographs, tmp_path / "w.safetensors")
    pretrain_to_file(config, silent)
    loaded = load_checkpoint(config.output)
    assert isinstance(loaded, Specialised)
    assert loaded.bounds == (15, 30)
    for network, span in zip(loaded.networks, pairwise(EDGES), strict=True):
        data, output = {"train": [photographs], "sigma": span, "vary": False}, tmp_path / f"{span[0]}.safetensors"
        alone = configured(photographs, output, data=data, specialised=None, selector_steps=None)
        pretrain_to_file(alone, silent)
        for key, value in load_checkpoint(alone.output).state_dict().items():
            torch.testing.assert_close(network.state_dict()[key], value, rtol=0, atol=0)


class Killed(Exception):
    pass


def test_a_killed_training_goes_on_and_ends_the_same(photographs: Path, tmp_path: Path) -> None:
    whole = configured(photographs, tmp_path / "whole.safetensors")
    shares: list[float] = []
    pretrain_to_file(whole, lambda share, words: shares.append(share))
    assert shares == sorted(shares)
    assert shares[0] < 0.06
    assert shares[-1] > 0.9
    config = configured(photographs, tmp_path / "parted.safetensors")
    for deadly in ("selector 0-15-30-60: step 10", "sigma 0-15: step 10", "sigma 30-60: step 10"):

        def kill(share: float, words: str, deadly: str = deadly) -> None:
            if words.startswith(deadly):
                raise Killed

        with pytest.raises(Killed):
            pretrain_to_file(config, kill)
        assert not config.output.exists()
    said: list[str] = []
    pretrain_to_file(config, lambda share, words: said.append(words))
    assert said == [
        "sigma 0-15: goes on at step 12",
        "sigma 15-30: goes on at step 12",
        "sigma 30-60: goes on at step 5",
        "sigma 30-60: step 10, " + said[-1].rsplit(", ", 1)[1],
    ]
    first, second = (load_checkpoint(path).state_dict() for path in (whole.output, config.output))
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(second[key], value, rtol=0, atol=0)


def test_other_bounds_do_not_go_on_from_these(photographs: Path, tmp_path: Path) -> None:
    pretrain_to_file(configured(photographs, tmp_path / "w.safetensors"), silent)
    said: list[str] = []
    other = configured(photographs, tmp_path / "w.safetensors", specialised=(20, 30))
    pretrain_to_file(other, lambda share, words: said.append(words))
    assert [words for words in said if "goes on" in words] == ["sigma 30-60: goes on at step 12"]  # the one they share


def test_evaluate_and_export_open_the_result(call: Call, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(
        "model: {network: dncnn, depth: 3, width: 4}\nbranches: true\nspecialised: [20]\nselector_steps: 3\n"
        f"data: {{train: [{photographs}], sigma: [0, 40]}}\n"
        "output: w.safetensors\nsteps: 3\nsmall: [1, 16]\nlarge: [1, 16]\nthreads: 1\n"
    )
    status, out, err = call("pretrain", "train.yaml")
    assert (status, out.strip()) == (0, "weights: w.safetensors"), err
    by_torch = call("evaluate", "--model", "w.safetensors", "--data", photographs)
    assert by_torch[0] == 0, by_torch[2]
    status, out, err = call("models", "export", "w.safetensors", "w.onnx", "--size", "32x24")
    assert status == 0, err
    assert "w.range0.onnx, w.range1.onnx, w.selector.onnx" in out
    assert call("evaluate", "--model", "w.onnx", "--data", photographs)[1] == by_torch[1]
    assert call("cost", "w.range1.onnx", "--target", "exynos2100-mali-g78")[0] == 0
    status, _, err = call("cost", "w.safetensors", "--target", "exynos2100-mali-g78")
    assert status == 1
    assert "error: model w.safetensors holds networks specialised by noise" in err
    assert "`graphopt models export w.safetensors w.onnx`, and give w.range0.onnx" in err
    status, _, err = call("cost", "w.onnx", "--target", "exynos2100-mali-g78")
    assert status == 1
    assert err.startswith("error: cost: If (")
    assert err.count("\n") == 1
    assert call("models", "export", "w.safetensors", "a.onnx", "--weights", "w.safetensors")[2].startswith(
        "error: w.safetensors holds weights of its own; leave out --weights"
    )


@pytest.mark.parametrize(
    ("data", "bounds", "expected"),
    [
        ({"sigma": [0, 50]}, "[30, 20]", "each above the one before and inside 'sigma' (0 to 50); found [30, 20]"),
        ({"sigma": [0, 50]}, "[20, 20]", "each above the one before"),
        ({"sigma": [10, 50]}, "[10, 20]", "inside 'sigma' (10 to 50); found [10, 20]"),
        ({"sigma": [10, 50]}, "[60]", "inside 'sigma' (10 to 50); found [60]"),
        ({"sigma": [0, 50]}, "[]", "key 'specialised'"),
        ({"sigma": [0, 50]}, "20", "key 'specialised'"),
        (
            {"sigma": 25},
            "[20]",
            "'specialised' parts a range of noise; give 'data: {train: [...], sigma: [low, high]}'",
        ),
        ({"noise": "raw"}, "[20]", "'specialised' parts a range of noise"),
    ],
)
def test_bounds_that_do_not_fit(data: Any, bounds: str, expected: str, call: Call, tmp_path: Path) -> None:
    data = ", ".join(f"{key}: {value}" for key, value in data.items())
    (tmp_path / "train.yaml").write_text(
        f"specialised: {bounds}\ndata: {{train: [a], {data}}}\noutput: w.safetensors\nsteps: 1\n"
    )
    status, _, err = call("pretrain", "train.yaml")
    assert status == 1
    assert expected in err
    assert err.count("\n") == 1


def test_pairs_have_no_sigma(photographs: Path, tmp_path: Path) -> None:
    import h5py

    pair = {"noisy": photographs, "clean": photographs}
    with pytest.raises(ValueError, match="'specialised' needs clean images"):
        configured(photographs, tmp_path / "w", data={"train": [pair], "sigma": (0, 60)})
    with pytest.raises(ValueError, match="'selector_steps' belongs to 'specialised"):
        configured(photographs, tmp_path / "w", specialised=None)
    with h5py.File(tmp_path / "pairs.h5", "w") as file:
        file["clean"] = file["noisy"] = np.zeros((2, 16, 16, 3), np.uint8)
    data = {"train": [{"h5": tmp_path / "pairs.h5"}], "sigma": (0, 60)}
    with pytest.raises(GraphoptError, match=r"pairs\.h5 holds pairs, whose noise has no known sigma"):
        pretrain_to_file(configured(photographs, tmp_path / "w.safetensors", data=data), silent)
