"""Fine-tuning: distillation works, a killed run goes on, and a NaN is one message."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx_graphsurgeon as gs
import pytest
import torch
from patches import sampler
from torch import nn

from graphopt.config.training import FinetuneConfig
from graphopt.errors import GraphoptError
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.nn.module import GraphModule
from graphopt.train.features import shared_features
from graphopt.train.finetune import TuneRecord, finetune, frozen
from graphopt.train.losses import feature_matching, psnr_loss

TINY = NAFNetConfig(width=4, encoder_blocks=(1,), middle_blocks=1, decoder_blocks=(1,))


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


def first_batch(count: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    """That of step 0: patch k has the seed (config.seed, 0, k)."""
    drawn = [sampler().seeded(1, 0, k).batch(1, size) for k in range(count)]
    noisy, clean = (torch.from_numpy(np.concatenate(part)) for part in zip(*drawn, strict=True))
    return noisy, clean


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
    assert history[-1].psnr > history[0].psnr + 0.5


def test_the_loss_is_the_weighted_mean_of_both(tmp_path: Path) -> None:
    student, teacher = network(2), network(1).eval()
    noisy, clean = first_batch(2, 16)
    with torch.no_grad():
        restored = copy.deepcopy(student)(noisy)
        truth, distance = psnr_loss(restored, clean), psnr_loss(restored, teacher(noisy))
    (record,) = finetune(student, teacher, sampler(), config(steps=1, distillation=0.5), tmp_path / "s.pt", quiet)
    assert record.loss == pytest.approx(float((truth + 0.5 * distance) / 1.5), rel=1e-5)
    assert record.psnr == pytest.approx(-float(truth), rel=1e-5)


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


def test_a_run_that_was_killed_is_the_same_as_one_that_was_not(tmp_path: Path) -> None:
    teacher, whole, parted = network(1).eval(), network(2), network(2)
    expected = finetune(whole, teacher, sampler(), config(), tmp_path / "whole.pt", quiet)

    def kill(share: float, words: str) -> None:
        if words.startswith(("step 17/", "step 33/")):
            raise Killed

    for seed in (2, 8):
        with pytest.raises(Killed):
            finetune(network(seed), teacher, sampler(), config(), tmp_path / "s.pt", kill)
    assert finetune(parted, teacher, sampler(5), config(), tmp_path / "s.pt", quiet) == expected
    for first, second in zip(whole.parameters(), parted.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=0, atol=0)
    other = network(2)
    assert finetune(other, teacher, sampler(), config(seed=7), tmp_path / "other.pt", quiet) != expected


@pytest.mark.parametrize(("name", "size"), [("charbonnier", 16), ("l1", 16), ("l2", 16), ("ms-ssim", 16)])
def test_every_loss_trains(name: str, size: int, tmp_path: Path) -> None:
    student = network(2)
    before = losses(student, student)[0]
    chosen = config(losses={name: 1}, patches=(2, size), steps=60)
    history = finetune(student, network(1), sampler(), chosen, tmp_path / "s.pt", quiet)
    assert losses(student, student)[0] < before - 0.3
    assert history[-1].loss >= 0  # unlike minus a PSNR


def test_losses_are_weighted_and_the_teacher_counts_by_the_same_ones(tmp_path: Path) -> None:
    student, teacher = network(2), network(1).eval()
    noisy, clean = first_batch(2, 16)
    with torch.no_grad():
        restored, expected = copy.deepcopy(student)(noisy), teacher(noisy)

    def both(target: torch.Tensor) -> float:
        return float(3 * (restored - target).abs().mean() + (restored - target).square().mean()) / 4

    chosen = config(steps=1, losses={"l1": 3, "l2": 1, "teacher": 2})
    (record,) = finetune(student, teacher, sampler(), chosen, tmp_path / "s.pt", quiet)
    assert record.loss == pytest.approx((4 * both(clean) + 2 * both(expected)) / 6, rel=1e-5)
    assert record.psnr == pytest.approx(-float(psnr_loss(restored, clean)), abs=1e-4)


def test_features_of_the_teacher_are_learnt(nafnet_graph: gs.Graph, tmp_path: Path) -> None:
    """Blocks of a network whose weights were shaken come nearer to those of the original."""
    names = shared_features(nafnet_graph, nafnet_graph)
    teacher, student = frozen(GraphModule(nafnet_graph, names)), GraphModule(nafnet_graph, names)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    image = torch.from_numpy(sampler(9).batch(2, 16)[0])

    def distance() -> float:
        with torch.no_grad():
            return float(feature_matching(student.watched(image)[1], teacher.watched(image)[1]))

    torch.testing.assert_close(student.watched(image)[0], student(image), rtol=0, atol=0)
    before = distance()
    chosen = config(losses={"l2": 1e-3, "features": 10}, steps=40)
    finetune(student, teacher, sampler(), chosen, tmp_path / "s.pt", quiet)
    assert distance() < 0.7 * before


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
