"""Trains a denoiser from scratch; can be killed at any time and goes on from its last checkpoint."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from graphopt.config.training import PretrainConfig
from graphopt.progress import Progress
from graphopt.train.data import PatchSampler
from graphopt.train.losses import psnr_loss, weighted
from graphopt.train.schedule import Budget, cosine
from graphopt.train.trainer import Trainer


def pretrain(network: nn.Module, config: PretrainConfig, state: Path, report: Progress) -> nn.Module:
    """Returns the network with the exponential mean of its weights. `state` is the checkpoint to write and resume.

    The recipe is NAFNet's (AdamW, betas (0.9, 0.9), cosine, PSNR loss, arXiv 2204.04676), with larger patches in
    the last part, so that the global pool of channel attention sees areas nearer to those of whole images. Under
    `torchrun`, each process takes its share of every batch.
    """
    advice = f"lower learning_rate (now {config.learning_rate:g}) and run the command again"
    trainer = Trainer(network, PatchSampler.of_data(config.source, config.seed), config, state, "training", advice)
    saved = trainer.resume()
    budget = Budget(config.steps, config.minutes, saved.get("seconds", 0.0))
    fabric, first, recent = trainer.fabric, trainer.step, 0.0
    say = report if fabric.is_global_zero else lambda share, words: None
    if saved:
        say(budget.progress(first), f"goes on at step {first}")
    truth = weighted(config.losses)

    def objective(noisy: Tensor, clean: Tensor) -> tuple[Tensor, Tensor]:
        found = trainer.run(trainer.module, noisy)
        restored, *others = found if isinstance(found, tuple) else (found,)  # others: a super-network's
        loss = truth(restored, clean)
        for other in others:
            loss = loss + truth(other, clean)
        return loss, -psnr_loss(restored.detach(), clean)

    def progress_of_all() -> float:
        own = budget.progress(trainer.step)
        return own if config.minutes is None else fabric.broadcast(own)  # clocks differ: the first process decides

    while (progress := progress_of_all()) < 1:
        large = progress >= 1 - config.large_share
        rate = cosine(progress, config.learning_rate, warm_up=config.warm_up)
        _, psnr = trainer.gradients(config.large if large else config.small, rate, objective)
        if trainer.step > first and trainer.step % config.save_every == 0:
            trainer.save(seconds=budget.seconds())
        trainer.update()
        recent = psnr if recent == 0 else 0.98 * recent + 0.02 * psnr
        if trainer.step % 10 == 0:
            say(progress, f"step {trainer.step}, {recent:.2f} dB on training patches")
    trainer.save(seconds=budget.seconds())
    return trainer.average.cpu()
