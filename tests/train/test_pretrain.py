"""Training from scratch: it learns, goes on where it was killed, and stops at the first NaN with a good checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.models.checkpoints import load_checkpoint, save_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.models.zoo import build
from graphopt.train.commands import pretrain_to_file
from graphopt.train.data import PatchSampler
from graphopt.train.losses import psnr_loss
from graphopt.train.pretrain import pretrain

TINY: dict[str, Any] = {"width": 4, "encoder_blocks": (1,), "middle_blocks": 1, "decoder_blocks": (1,)}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    rows, columns = np.mgrid[:64, :64]
    for position in range(3):
        plane = 127 + 100 * np.sin(rows / (5 + position)) * np.cos(columns / 7)
        Image.fromarray(np.stack([plane, plane[::-1], plane.T], -1).astype(np.uint8)).save(folder / f"{position}.png")
    return folder


def configured(photographs: Path, output: Path, **changes: Any) -> PretrainConfig:
    content = {
        "model": TINY, "images": [photographs], "output": output, "steps": 40, "small": (2, 16), "large": (1, 32),
        "learning_rate": 3e-3, "ema": 0.8, "save_every": 5, "threads": 1,
    }  # fmt: skip
    return PretrainConfig.model_validate({**content, **changes})


def network() -> NAFNet:
    torch.manual_seed(0)
    return NAFNet(NAFNetConfig(**TINY))


def loss_of(model: torch.nn.Module, photographs: Path) -> float:
    noisy, clean = PatchSampler.of_folders([photographs], 25, 123).batch(8, 32)
    with torch.no_grad():
        return float(psnr_loss(model(torch.from_numpy(noisy)), torch.from_numpy(clean)))


def test_a_few_steps_lower_the_loss(photographs: Path, tmp_path: Path) -> None:
    said: list[tuple[float, str]] = []
    config = configured(photographs, tmp_path / "w.safetensors")
    before = loss_of(network(), photographs)
    trained = pretrain(network(), config, tmp_path / "state.pt", lambda share, words: said.append((share, words)))
    assert loss_of(trained, photographs) < before - 0.3
    assert [words.split(",")[0] for _, words in said] == ["step 10", "step 20", "step 30", "step 40"]


def test_pretrain_to_file_writes_weights_and_is_finished_the_second_time(photographs: Path, tmp_path: Path) -> None:
    config = configured(photographs, tmp_path / "new" / "w.safetensors", steps=4)
    pretrain_to_file(config, lambda share, words: None)
    first = load_checkpoint(config.output).state_dict()
    assert load_checkpoint(config.output).config == NAFNetConfig(**TINY)
    said: list[str] = []
    pretrain_to_file(config, lambda share, words: said.append(words))
    assert said == ["goes on at step 4"]
    for key, value in load_checkpoint(config.output).state_dict().items():
        torch.testing.assert_close(value, first[key], rtol=0, atol=0)


def test_another_suffix_is_refused_before_training(photographs: Path, tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"w\.pth: expected a name that ends in \.safetensors"):
        pretrain_to_file(configured(photographs, tmp_path / "w.pth"), lambda share, words: None)
    assert not list(tmp_path.iterdir())


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_at_its_last_checkpoint(photographs: Path, tmp_path: Path) -> None:
    config, state = configured(photographs, tmp_path / "w.safetensors"), tmp_path / "state.pt"

    def kill(share: float, words: str) -> None:
        if words.startswith("step 20"):
            raise Killed

    with pytest.raises(Killed):
        pretrain(network(), config, state, kill)
    saved = torch.load(state, weights_only=True)
    assert saved["step"] == 15  # step 20 had not been proved by a finite loss when the run was killed
    assert saved["seconds"] > 0
    said: list[tuple[float, str]] = []
    torch.manual_seed(77)
    other = NAFNet(NAFNetConfig(**TINY))  # its weights must not matter
    trained = pretrain(other, config, state, lambda share, words: said.append((share, words)))
    assert said[0] == (pytest.approx(15 / 40), "goes on at step 15")
    assert said[-1][1].startswith("step 40")
    assert loss_of(trained, photographs) < loss_of(network(), photographs) - 0.3
    assert torch.load(state, weights_only=True)["step"] == 40


def test_a_run_that_was_killed_is_the_same_as_one_that_was_not(photographs: Path, tmp_path: Path) -> None:
    config = configured(photographs, tmp_path / "w.safetensors", losses={"charbonnier": 1, "ms-ssim": 0.2})
    whole = pretrain(network(), config, tmp_path / "whole.pt", lambda share, words: None)

    def kill(share: float, words: str) -> None:
        if words.startswith(("step 20", "step 30")):
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            pretrain(network(), config, tmp_path / "state.pt", kill)
    parted = pretrain(network(), config, tmp_path / "state.pt", lambda share, words: None)
    for first, second in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_two_runs_with_one_seed_are_the_same(photographs: Path, tmp_path: Path) -> None:
    config = configured(photographs, tmp_path / "w.safetensors", steps=5)
    runs = [pretrain(network(), config, tmp_path / f"{name}.pt", lambda share, words: None) for name in "ab"]
    for first, second in zip(*(run.parameters() for run in runs), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_learning_rate_that_is_too_high_is_one_message(photographs: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    config = configured(photographs, tmp_path / "w.safetensors", learning_rate=1e30, clip_gradient=1e30, save_every=1)
    with pytest.raises(GraphoptError) as caught:
        pretrain(network(), config, state, lambda share, words: None)
    assert str(state) in str(caught.value)
    assert "last good checkpoint" in str(caught.value)
    assert "lower learning_rate (now 1e+30)" in str(caught.value)
    saved = torch.load(state, weights_only=True)
    assert all(torch.isfinite(value).all() for value in saved["network"].values())
    assert all(torch.isfinite(value).all() for value in saved["average"].values())
    gentle = configured(photographs, tmp_path / "w.safetensors", steps=saved["step"] + 3)
    trained = pretrain(network(), gentle, state, lambda share, words: None)  # the advice works
    assert np.isfinite(loss_of(trained, photographs))


def test_infinite_weights_are_one_message(photographs: Path, tmp_path: Path) -> None:
    broken = network()
    with torch.no_grad():
        broken.ending.weight.fill_(float("inf"))
    with pytest.raises(GraphoptError, match="at step 0; no checkpoint was written yet; lower learning_rate"):
        pretrain(broken, configured(photographs, tmp_path / "w"), tmp_path / "state.pt", lambda share, words: None)
    assert not (tmp_path / "state.pt").exists()


class InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return gradient * float("inf")


class Treacherous(NAFNet):
    """Its output stays finite while its gradient does not."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return InfiniteGradient.apply(super().forward(image))


def test_an_infinite_gradient_is_seen_before_it_reaches_the_weights(photographs: Path, tmp_path: Path) -> None:
    treacherous = Treacherous(NAFNetConfig(**TINY))
    with pytest.raises(GraphoptError, match=r"its gradient (nan|inf)\) at step 0"):
        pretrain(treacherous, configured(photographs, tmp_path / "w"), tmp_path / "s.pt", lambda share, words: None)
    assert all(torch.isfinite(parameter).all() for parameter in treacherous.parameters())


def test_the_checkpoint_of_another_network_is_one_message(photographs: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    pretrain(network(), configured(photographs, tmp_path / "w", steps=1), state, lambda share, words: None)
    wider = NAFNet(NAFNetConfig(**{**TINY, "width": 6}))
    with pytest.raises(GraphoptError, match=r"state\.pt is the checkpoint of another network") as caught:
        pretrain(wider, configured(photographs, tmp_path / "w"), state, lambda share, words: None)
    keys = len(wider.state_dict())
    assert f"(intro.weight has the shape (4, 3, 3, 3), expected (6, 3, 3, 3) (and {keys - 2} more" in str(caught.value)
    assert f"1 of {keys} keys agree); give another output, or delete it" in str(caught.value)  # ending.bias
    deeper = NAFNet(NAFNetConfig(**{**TINY, "middle_blocks": 2}))
    more = len(deeper.state_dict()) - keys
    expected = rf"\(missing middle_blks\.1\.beta, \S+, \S+ and {more - 3} more; {keys} of {keys + more} keys agree\)"
    with pytest.raises(GraphoptError, match=expected):
        pretrain(deeper, configured(photographs, tmp_path / "w"), state, lambda share, words: None)


@pytest.mark.parametrize(
    ("content", "expected"), [(b"no checkpoint", "cannot be read as a checkpoint"), ({"a": 1}, "is no checkpoint of")]
)
def test_a_state_that_is_none_is_one_message(content: Any, expected: str, photographs: Path, tmp_path: Path) -> None:
    state = tmp_path / "state.pt"
    state.write_bytes(content) if isinstance(content, bytes) else torch.save(content, state)
    with pytest.raises(GraphoptError, match=rf"training: \S+state\.pt {expected}"):
        pretrain(network(), configured(photographs, tmp_path / "w"), state, lambda share, words: None)


def noisy_network() -> NAFNet:
    made = network()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return made


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("recipe", [{}, {"branches": True}, {"joint": True}])
def test_it_starts_from_given_weights(suffix: str, recipe: Any, photographs: Path, tmp_path: Path) -> None:
    start, file = noisy_network(), tmp_path / f"start{suffix}"
    torch.save({"params": start.state_dict()}, file) if suffix == ".pth" else save_checkpoint(start, file)
    still = {"steps": 1, "learning_rate": 1e-12, **recipe}
    config = configured(photographs, tmp_path / "w.safetensors", weights=file, **still)
    pretrain_to_file(config, lambda share, words: None)
    found = load_checkpoint(config.output).state_dict()
    for key, value in start.state_dict().items():
        torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-7)
    other = configured(photographs, tmp_path / "random.safetensors", **still)
    pretrain_to_file(other, lambda share, words: None)
    assert not torch.allclose(load_checkpoint(other.output).intro.weight, start.intro.weight, atol=0.01)


def test_given_weights_are_not_read_again_where_a_training_goes_on(photographs: Path, tmp_path: Path) -> None:
    file, output = tmp_path / "start.safetensors", tmp_path / "w.safetensors"
    save_checkpoint(noisy_network(), file)
    pretrain_to_file(configured(photographs, output, weights=file, steps=2), lambda share, words: None)
    file.unlink()
    said: list[str] = []
    pretrain_to_file(configured(photographs, output, weights=file, steps=3), lambda share, words: said.append(words))
    assert said == ["goes on at step 2"]


def test_given_weights_of_another_network_are_one_message(photographs: Path, tmp_path: Path) -> None:
    save_checkpoint(build("dncnn", {"depth": 3, "width": 4}), tmp_path / "dncnn.safetensors")
    config = configured(photographs, tmp_path / "w.safetensors", weights=tmp_path / "dncnn.safetensors")
    keys = len(network().state_dict())
    expected = (
        rf"dncnn\.safetensors is not a NAFNet of this form: missing \S+, \S+, \S+ and {keys - 3} more; unknown "
        rf"model\.0\.bias, model\.0\.weight, model\.2\.bias and 3 more; 0 of {keys} keys agree; give a file of the same"
    )
    with pytest.raises(GraphoptError, match=expected):
        pretrain_to_file(config, lambda share, words: None)
    assert not config.output.exists()
    with pytest.raises(GraphoptError, match=r"gone\.pth does not exist"):
        pretrain_to_file(config.model_copy(update={"weights": tmp_path / "gone.pth"}), lambda share, words: None)
