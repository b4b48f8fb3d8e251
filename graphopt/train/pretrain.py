"""Trains a denoiser from scratch; can be killed at any time and goes on from its last checkpoint."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from graphopt.config import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.train.data import PatchSampler
from graphopt.train.losses import psnr_loss
from graphopt.train.schedule import Budget, cosine

Report = Callable[[float, str], None]


def pretrain(network: nn.Module, config: PretrainConfig, state: Path, report: Report) -> nn.Module:
    """Returns the network with the exponential mean of its weights. `state` is the checkpoint to write and resume.

    The recipe is NAFNet's (AdamW, betas (0.9, 0.9), cosine, PSNR loss, arXiv 2204.04676), with larger patches in
    the last part, so that the global pool of channel attention sees areas nearer to those of whole images.
    """
    torch.manual_seed(config.seed)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in torch's stubs
    optimiser = torch.optim.AdamW(network.parameters(), config.learning_rate, (0.9, 0.9), weight_decay=0, fused=True)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(config.ema))
    budget, step = Budget(config.steps, config.minutes), 0
    if state.exists():
        saved = torch.load(state, weights_only=True)
        try:
            network.load_state_dict(saved["network"])
            average.load_state_dict(saved["average"])
            optimiser.load_state_dict(saved["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise GraphoptError(
                f"training: {state} is the checkpoint of another network; give another output, or delete it"
            ) from error
        budget.spent, step = saved["seconds"], saved["step"]
        report(budget.progress(step), f"goes on at step {step}")
    first = step
    sampler = PatchSampler.of_data(config.source, config.seed + step)

    def save() -> None:
        weights = {"network": network.state_dict(), "average": average.state_dict()}
        temporary = state.with_suffix(".tmp")
        content = {**weights, "optimiser": optimiser.state_dict(), "seconds": budget.seconds(), "step": step}
        torch.save(content, temporary)
        os.replace(temporary, state)

    recent = 0.0
    while (progress := budget.progress(step)) < 1:
        large = progress >= 1 - config.large_share
        noisy, clean = sampler.batch(*(config.large if large else config.small))
        for group in optimiser.param_groups:
            group["lr"] = cosine(progress, config.learning_rate, warm_up=config.warm_up)
        restored = network(torch.from_numpy(noisy).to(memory_format=torch.channels_last))
        loss = psnr_loss(restored, torch.from_numpy(clean))
        optimiser.zero_grad()
        loss.backward()
        length = nn.utils.clip_grad_norm_(network.parameters(), config.clip_gradient)
        value = -loss.item()
        if not (torch.isfinite(loss) and torch.isfinite(length)):
            kept = f"the last good checkpoint is {state}" if state.exists() else "no checkpoint was written yet"
            raise GraphoptError(
                f"training: the loss became {-value} (its gradient {length.item()}) at step {step}; {kept}; "
                f"lower learning_rate (now {config.learning_rate:g}) and run the command again"
            )
        if step > first and step % config.save_every == 0:
            save()  # here, not after the step: these weights have just proved to be good
        optimiser.step()
        average.update_parameters(network)
        step += 1
        recent = value if recent == 0 else 0.98 * recent + 0.02 * value
        if step % 10 == 0:
            report(progress, f"step {step}, {recent:.2f} dB on training patches")
    save()
    return average.module
