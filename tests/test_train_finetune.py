"""Fine-tuning: distillation works, a killed run goes on, and a NaN is one message."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from graphopt.config import FinetuneConfig
from graphopt.errors import GraphoptError
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.train.data import PatchSampler
from graphopt.train.finetune import TuneRecord, finetune
from graphopt.train.losses import psnr_loss

TINY = NAFNetConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))


def sampler(seed: int = 0) -> PatchSampler:
    rows, columns = np.mgrid[:48, :48]
    plane = 127 + 100 * np.sin(rows / 5) * np.cos(columns / 7)
    image = np.stack([plane, plane[::-1], plane.T], -1).astype(np.uint8)
    return PatchSampler([image], 25, np.random.default_rng(seed))


def network(seed: int) -> NAFNet:
    torch.manual_seed(seed)
    made = NAFNet(TINY)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def config(**changes: Any) -> FinetuneConfig:
    content = {"steps": 40, "patches": (2, 16), "learning_rate": 3e-3, "ema": 0.8, "record_every": 10}
    return FinetuneConfig.model_validate({**content, **changes})


def losses(model: nn.Module, teacher: nn.Module) -> tuple[float, float]:
    """Against the truth, and against the teacher."""
    noisy, clean = (torch.from_numpy(array) for array in sampler(9).batch(8, 32))
    with torch.no_grad():
        found = model(noisy)
        return float(psnr_loss(found, clean)), float(psnr_loss(found, teacher(noisy)))


def quiet(share: float, words: str) -> None:
    pass


def test_distillation_brings_the_network_to_its_teacher(tmp_path: Path) -> None:
    teacher, student = network(1).eval(), network(2)
    before = losses(student, teacher)
    history = finetune(student, teacher, sampler(), config(distillation=50), tmp_path / "s.pt", quiet)
    after = losses(student, teacher)
    assert after[1] < before[1] - 1
    assert [record.step for record in history] == [10, 20, 30, 40]
    assert all(isinstance(record, TuneRecord) and np.isfinite(record.loss) for record in history)


def test_training_without_a_teacher_lowers_the_loss(tmp_path: Path) -> None:
    student = network(2)
    before = losses(student, student)[0]

    def never(_: torch.Tensor) -> torch.Tensor:
        raise AssertionError("the teacher is not needed")

    teacher = nn.Module()
    teacher.forward = never  # type: ignore[assignment]
    history = finetune(student, teacher, sampler(), config(distillation=0), tmp_path / "s.pt", quiet)
    assert losses(student, student)[0] < before - 0.5
    assert history[-1].psnr == pytest.approx(-losses(student, student)[0], abs=6)


def test_the_loss_is_the_weighted_mean_of_both(tmp_path: Path) -> None:
    student, teacher = network(2), network(1).eval()
    noisy, clean = (torch.from_numpy(array) for array in sampler().batch(2, 16))
    with torch.no_grad():
        restored = copy.deepcopy(student)(noisy)
        truth, distance = psnr_loss(restored, clean), psnr_loss(restored, teacher(noisy))
    (record,) = finetune(student, teacher, sampler(), config(steps=1, distillation=0.5), tmp_path / "s.pt", quiet)
    assert record.loss == pytest.approx(float((truth + 0.5 * distance) / 1.5), abs=1e-3)
    assert record.psnr == pytest.approx(-float(truth), abs=1e-3)


def test_the_teacher_and_frozen_weights_are_left_alone(tmp_path: Path) -> None:
    teacher, student = network(1).eval(), network(2)
    student.intro.requires_grad_(False)
    kept = {**{f"t.{k}": v.clone() for k, v in teacher.state_dict().items()}, "intro": student.intro.weight.clone()}
    finetune(student, teacher, sampler(), config(steps=5), tmp_path / "s.pt", quiet)
    for key, value in teacher.state_dict().items():
        torch.testing.assert_close(value, kept[f"t.{key}"], rtol=0, atol=0)
    torch.testing.assert_close(student.intro.weight, kept["intro"], rtol=0, atol=0)
    assert not torch.equal(student.ending.weight, network(2).ending.weight)


def test_no_steps_change_nothing(tmp_path: Path) -> None:
    student = network(2)
    for _ in range(2):
        assert finetune(student, network(1), sampler(), config(steps=0), tmp_path / "s.pt", quiet) == []
    for first, second in zip(student.parameters(), network(2).parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_at_its_last_checkpoint(tmp_path: Path) -> None:
    teacher, state = network(1).eval(), tmp_path / "s.pt"

    def kill(share: float, words: str) -> None:
        if words.startswith("step 25/"):
            raise Killed

    with pytest.raises(Killed):
        finetune(network(2), teacher, sampler(), config(), state, kill)
    saved = torch.load(state, weights_only=True)
    assert saved["step"] == 20
    said: list[str] = []
    student, source = network(7), sampler()  # other weights, which must not matter
    history = finetune(student, teacher, source, config(), state, lambda share, words: said.append(words))
    assert said[0] == "goes on at step 20"
    assert said[1].startswith("step 21/40")
    assert [record.step for record in history] == [10, 20, 30, 40]
    assert [record.loss for record in history[:2]] == [record["loss"] for record in saved["history"]]
    assert losses(student, teacher)[0] < losses(network(2), teacher)[0] - 0.5
    finished = copy.deepcopy(student)
    again = finetune(network(8), teacher, sampler(), config(), state, quiet)
    assert again == history
    for first, second in zip(student.parameters(), finished.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_run_that_goes_on_sees_new_patches(tmp_path: Path) -> None:
    teacher, state = network(1).eval(), tmp_path / "s.pt"

    def kill(share: float, words: str) -> None:
        if words.startswith("step 2/"):
            raise Killed

    class Recorder(PatchSampler):
        def batch(self, count: int, size: int) -> tuple[Any, Any]:
            seen.append(super().batch(count, size))
            return seen[-1]

    seen: list[tuple[Any, Any]] = []
    parts = (sampler().images, 25)
    with pytest.raises(Killed):
        finetune(network(2), teacher, Recorder(*parts, np.random.default_rng(0)), config(record_every=1), state, kill)
    finetune(
        network(2), teacher, Recorder(*parts, np.random.default_rng(0)), config(record_every=1, steps=3), state, quiet
    )
    assert len({noisy.tobytes() for noisy, _ in seen}) == len(seen) == 4


def test_a_learning_rate_that_is_too_high_is_one_message(tmp_path: Path) -> None:
    state = tmp_path / "s.pt"
    with pytest.raises(GraphoptError) as caught:
        finetune(network(2), network(1), sampler(), config(learning_rate=1e30, record_every=1, steps=400), state, quiet)
    assert f"the last good checkpoint is {state}" in str(caught.value)
    assert "lower finetune.learning_rate (now 1e+30), and list bounded-gate" in str(caught.value)
    saved = torch.load(state, weights_only=True)
    assert all(torch.isfinite(value).all() for value in saved["network"].values())
    student = network(3)
    finetune(student, network(1), sampler(), config(steps=saved["step"] + 2), state, quiet)  # the advice works
    assert np.isfinite(losses(student, network(1))[0])


def test_infinite_weights_are_one_message(tmp_path: Path) -> None:
    broken = network(2)
    with torch.no_grad():
        broken.ending.weight.fill_(float("inf"))
    with pytest.raises(GraphoptError, match="at step 0; no checkpoint was written yet; lower finetune"):
        finetune(broken, network(1), sampler(), config(), tmp_path / "s.pt", quiet)
