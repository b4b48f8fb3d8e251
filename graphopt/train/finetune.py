"""Fine-tuning: trains the chosen network on photographs, and distils from the original."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from graphopt.config import FinetuneConfig
from graphopt.errors import GraphoptError
from graphopt.train.data import PatchSampler
from graphopt.train.losses import psnr_loss
from graphopt.train.schedule import cosine

Report = Callable[[float, str], None]


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
    report: Report,
    advance: Callable[[float], None] | None = None,
) -> list[TuneRecord]:
    """Trains `network` in place and leaves the exponential mean of its weights in it. Goes on from `state`.

    `advance` hears before each step which share of the steps is done: training forms change with it.
    Raises GraphoptError where the loss turns NaN; `state` is then the last good checkpoint.
    """
    torch.manual_seed(config.seed)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    average = copy.deepcopy(network).requires_grad_(False)
    trained = [p for p in network.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(trained, config.learning_rate, (0.9, 0.9), weight_decay=0, fused=True)
    step, history = 0, list[TuneRecord]()
    if state.exists():
        saved = torch.load(state, weights_only=True)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        step, history = saved["step"], [TuneRecord(**record) for record in saved["history"]]
        sampler.random = np.random.default_rng([config.seed, step])  # not the patches that were seen already
        report(step / config.steps, f"goes on at step {step}")
    first = step

    def save() -> None:
        weights = {"network": network.state_dict(), "average": average.state_dict()}
        records = [asdict(record) for record in history]
        temporary = state.with_suffix(".tmp")
        torch.save({**weights, "optimiser": optimiser.state_dict(), "step": step, "history": records}, temporary)
        os.replace(temporary, state)

    smooth = history[-1].psnr if history else None
    while step < config.steps:
        for group in optimiser.param_groups:
            group["lr"] = cosine(step / config.steps, config.learning_rate, warm_up=0.03)
        if advance is not None:
            advance(step / config.steps)
        noisy, clean = sampler.batch(*config.patches)
        image = torch.from_numpy(noisy).to(memory_format=torch.channels_last)
        restored = network(image)
        truth = psnr_loss(restored, torch.from_numpy(clean))
        loss = truth
        if config.distillation:
            with torch.no_grad():
                expected = teacher(image)
            loss = (truth + config.distillation * psnr_loss(restored, expected)) / (1 + config.distillation)
        optimiser.zero_grad()
        loss.backward()
        length = nn.utils.clip_grad_norm_(trained, 1.0)
        if not (torch.isfinite(loss) and torch.isfinite(length)):
            kept = f"the last good checkpoint is {state}" if state.exists() else "no checkpoint was written yet"
            raise GraphoptError(
                f"finetune: the loss became {loss.item()} (its gradient {length.item()}) at step {step}; {kept}; "
                f"lower finetune.learning_rate (now {config.learning_rate:g}), and list bounded-gate among the passes"
            )
        if step > first and step % config.record_every == 0:
            save()  # here, not after the step: these weights have just proved to be good
        optimiser.step()
        _follow(average, network, min(config.ema, step / (step + 10)))
        smooth = -truth.item() if smooth is None else 0.95 * smooth - 0.05 * truth.item()
        step += 1
        report(step / config.steps, f"step {step}/{config.steps}, {smooth:.2f} dB on training patches")
        if step % config.record_every == 0 or step == config.steps:
            history.append(TuneRecord(step, loss.item(), smooth))
    if step > first:
        save()
    network.load_state_dict(average.state_dict())
    return history


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, decay: float) -> None:
    targets: list[Tensor] = list(average.parameters())
    sources: list[Tensor] = list(network.parameters())
    torch._foreach_lerp_(targets, sources, 1 - decay)
