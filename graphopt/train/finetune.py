"""Fine-tuning: trains the chosen network on photographs, and distils from the original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from graphopt.config.training import FinetuneConfig
from graphopt.progress import Progress
from graphopt.train.data import PatchSampler
from graphopt.train.losses import feature_matching, psnr_loss, weighted
from graphopt.train.schedule import cosine
from graphopt.train.trainer import Objective, Trainer


@dataclass(frozen=True)
class TuneRecord:
    """Fine-tuning at one step: loss, and PSNR (dB) on training patches, smoothed."""

    step: int
    loss: float
    psnr: float


def finetune(
    network: nn.Module,
    teacher: nn.Module,
    sampler: PatchSampler,
    config: FinetuneConfig,
    state: Path,
    report: Progress,
    advance: Callable[[float], None] | None = None,
    rate: str = "learning_rate",
) -> list[TuneRecord]:
    """Trains `network` in place and leaves the exponential mean of its weights in it, on the CPU. Goes on from `state`.

    `advance` hears before each step which share of the steps is done: training forms change with it.
    `rate`: the key that the learning rate is known by.
    Where `config.losses` asks for features, both networks must be GraphModules that watch the same tensors.
    Raises GraphoptError where the loss turns NaN; `state` is then the last good checkpoint.
    """
    advice = f"lower finetune.{rate} (now {config.learning_rate:g}), and list bounded-gate among the passes"
    trainer = Trainer(network, sampler, config, state, "finetune", advice)
    saved = trainer.resume()
    history = [TuneRecord(**record) for record in saved.get("history", [])]
    if saved:
        report(trainer.step / config.steps, f"goes on at step {trainer.step}")
    first, smooth = trainer.step, history[-1].psnr if history else None
    objective = distilled(trainer, teacher.to(trainer.fabric.device), config)

    def save() -> None:
        trainer.save(history=[asdict(record) for record in history])

    while trainer.step < config.steps:
        if advance is not None:
            advance(trainer.step / config.steps)
        now = cosine(trainer.step / config.steps, config.learning_rate, warm_up=config.warm_up)
        loss, psnr = trainer.gradients(config.patches, now, objective)
        if trainer.step > first and trainer.step % config.record_every == 0:
            save()
        trainer.update()
        smooth = psnr if smooth is None else 0.95 * smooth + 0.05 * psnr
        report(trainer.step / config.steps, f"step {trainer.step}/{config.steps}, {smooth:.2f} dB on training patches")
        if trainer.step % config.record_every == 0 or trainer.step == config.steps:
            history.append(TuneRecord(trainer.step, loss, smooth))
    if trainer.step > first:
        save()
    network.load_state_dict(trainer.average.state_dict())
    network.cpu()
    return history


def frozen(teacher: nn.Module) -> nn.Module:
    """`teacher`, ready to be learnt from."""
    return teacher.to(memory_format=torch.channels_last).eval().requires_grad_(False)  # type: ignore[call-overload]


def distilled(trainer: Trainer, teacher: nn.Module, config: FinetuneConfig) -> Objective:
    """The weighted mean of the losses against the clean image, of the same against the teacher, and of features."""
    truth = weighted(config.losses)
    by_teacher, by_features = config.losses.get("teacher", 0.0), config.losses.get("features", 0.0)
    by_truth = sum(config.losses.values()) - by_teacher - by_features

    def objective(noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        if by_features:
            restored, features = trainer.run(trainer.network.watched, noisy)
            with torch.no_grad():
                expected, wanted = trainer.run(teacher.watched, noisy)  # type: ignore[arg-type]
        else:
            restored = trainer.run(trainer.module, noisy)
            with torch.no_grad():
                expected = trainer.run(teacher, noisy) if by_teacher else None
        loss = by_truth * truth(restored, clean)
        if by_teacher:
            loss = loss + by_teacher * truth(restored, expected)
        if by_features:
            loss = loss + by_features * feature_matching(features, wanted)
        return loss / (by_truth + by_teacher + by_features), -psnr_loss(restored.detach(), clean)

    return objective
