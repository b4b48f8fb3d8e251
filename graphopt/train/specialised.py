"""Trains the network that chooses among networks specialised by noise range (FAN, arXiv 2103.01524)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from graphopt.config.data import H5File
from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.models.specialised import NoiseSelector, range_of
from graphopt.progress import Progress
from graphopt.train.data import PatchSampler, open_photographs
from graphopt.train.schedule import cosine
from graphopt.train.trainer import Trainer

Planes = NDArray[np.float32]


@dataclass
class SigmaPatches:
    """Noisy patches beside the standard deviations of their noise (scale 0-255): every range between two neighbours of
    `edges` comes as often as the others, and within it, sigma is uniform."""

    patches: PatchSampler
    edges: tuple[float, ...]

    def seeded(self, *seed: int) -> SigmaPatches:
        return replace(self, patches=self.patches.seeded(*seed))

    def batch(self, count: int, size: int) -> tuple[Planes, Planes]:
        """(noisy, sigma): (count, 3, size, size) and (count,)."""
        drawn = [self._sigma() for _ in range(count)]
        noisy = [replace(self.patches, noise=sigma).batch(1, size)[0] for sigma in drawn]
        return np.concatenate(noisy), np.array(drawn, np.float32)

    def _sigma(self) -> float:
        place = int(self.patches.random.integers(len(self.edges) - 1))
        return self.patches.random.uniform(self.edges[place], self.edges[place + 1])


def train_selector(selector: NoiseSelector, config: PretrainConfig, state: Path, report: Progress) -> NoiseSelector:
    """Cross entropy on the ranges of noise. Returns the mean of the weights; `state` is the checkpoint to resume."""
    _check_clean(config)
    patches = SigmaPatches(PatchSampler.of_data(config.source, config.seed), config.edges)
    keys = config.model_copy(update={"compile": False})  # it is too small to gain from that
    advice = f"lower learning_rate (now {config.learning_rate:g}) and run the command again"
    trainer = Trainer(selector, patches, keys, state, "selector", advice)
    trainer.resume()
    bounds, first, recent = config.edges[1:-1], trainer.step, 0.0

    def objective(noisy: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        scores, wanted = trainer.run(trainer.module, noisy), range_of(sigma, bounds)
        return F.cross_entropy(scores, wanted), (scores.detach().argmax(1) == wanted).float().mean()

    while trainer.step < config.selector_steps:
        progress = trainer.step / config.selector_steps
        _, right = trainer.gradients(config.small, cosine(progress, config.learning_rate), objective)
        if trainer.step > first and trainer.step % config.save_every == 0:
            trainer.save()
        trainer.update()
        recent = right if recent == 0 else 0.98 * recent + 0.02 * right
        if trainer.step % 10 == 0 and trainer.fabric.is_global_zero:
            report(progress, f"step {trainer.step}, {recent:.0%} of the patches in the right range")
    trainer.save()
    average = trainer.average.cpu()
    assert isinstance(average, NoiseSelector)
    return average


def _check_clean(config: PretrainConfig) -> None:
    """Whether an HDF5 file holds pairs is known once it is open."""
    for source in config.source.train:
        if isinstance(source, H5File) and open_photographs([source])[0].read()[1] is not None:
            raise GraphoptError(
                f"specialised: {source.h5} holds pairs, whose noise has no known sigma; give clean images"
            )
