"""What every training does in a step: gradients, a check that they are finite, update, mean, checkpoint."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from graphopt.atomic import replacing
from graphopt.config.training import TrainingKeys
from graphopt.errors import GraphoptError
from graphopt.models.checkpoints import differences
from graphopt.train.loader import Batches, Sampler, Share
from graphopt.train.processes import mean_gradients, start_fabric

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # noisy, clean -> loss, PSNR in dB; means over images


class Trainer:
    """The state of a training: a network, the mean of its weights, AdamW (betas 0.9, 0.9), and the step.

    A step is `gradients`, perhaps `save`, then `update`: what is saved has just proved to be finite. A training that
    goes on from `state` computes the same as one that was never stopped. The processes of `fabric` share each batch,
    and have the mean of its gradients.
    """

    def __init__(
        self, network: nn.Module, sampler: Sampler, keys: TrainingKeys, state: Path, stage: str, advice: str,
        fabric: Fabric | None = None,
    ):  # fmt: skip
        """`stage` begins the error messages, `advice` ends that of a loss that is not finite.

        Without a `fabric`, one is started as `keys` say.
        """
        torch.manual_seed(keys.seed)
        self.fabric = fabric or start_fabric(keys.device, keys.precision)
        self.network = network.to(self.fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module: Callable[[Tensor], Any] = torch.compile(network) if keys.compile else network
        # with `ema` 0 the mean is the network itself
        self.average = copy.deepcopy(network).requires_grad_(False) if keys.ema else network
        self.trained = [p for p in network.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, keys.learning_rate, (0.9, 0.9), weight_decay=0, fused=True)
        share = Share(keys.accumulate, self.fabric.global_rank, self.fabric.world_size)
        self.batches = Batches(sampler, keys.seed, share, keys.workers, self.fabric.device)
        self.keys, self.state, self.step = keys, state, 0
        self._stage, self._advice = stage, advice

    def resume(self) -> dict[str, Any]:
        """Goes on from the checkpoint, and returns all that it holds; {} where there is none."""
        if not self.state.exists():
            return {}
        saved = self._read()
        found = differences(self.network.state_dict(), saved["network"])
        if not found:
            self.network.load_state_dict(saved["network"])
            self.average.load_state_dict(saved["average"])
            try:
                self.optimiser.load_state_dict(saved["optimiser"])
            except ValueError:  # other parameters are trained
                found = "its optimiser trains other weights"
        if found:
            raise GraphoptError(
                f"{self._stage}: {self.state} is the checkpoint of another network ({found}); give another output, or "
                "delete it"
            )
        self.step = saved["step"]
        return saved

    def _read(self) -> dict[str, Any]:
        try:
            saved = self.fabric.load(self.state, weights_only=True)
        except Exception as error:  # torch raises all sorts of errors for what is no checkpoint
            raise GraphoptError(
                f"{self._stage}: {self.state} cannot be read as a checkpoint ({type(error).__name__}); delete it to "
                "start anew"
            ) from error
        if not {"network", "average", "optimiser", "step"} <= saved.keys():
            raise GraphoptError(f"{self._stage}: {self.state} is no checkpoint of a training; give another output")
        return saved

    def save(self, **more: Any) -> None:
        """Writes the checkpoint, with `more` in it: plain values. A kill leaves the old one or the new one."""
        parts = {"network": self.network, "average": self.average, "optimiser": self.optimiser}
        content = {name: part.state_dict() for name, part in parts.items()}
        with replacing(self.state) if self.fabric.is_global_zero else nullcontext(self.state) as place:
            self.fabric.save(place, {**content, "step": self.step, **more})
        self.fabric.barrier()

    def run(self, network: Callable[[Tensor], Any], noisy: Tensor) -> Any:
        """What `module`, or another network, gives: computed in the precision of the training, in fp32."""
        with self.fabric.autocast():
            return apply_to_collection(network(noisy), Tensor, Tensor.float)

    def gradients(self, patches: tuple[int, int], rate: float, objective: Objective) -> tuple[float, float]:
        """Leaves the gradients of a batch at the learning rate `rate`. Returns its loss and PSNR (dB)."""
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad()
        parts = self.batches.of(self.step, patches)
        found = torch.zeros(2, device=self.fabric.device)
        for noisy, clean in parts:
            loss, psnr = objective(noisy, clean)
            if loss.requires_grad:  # a path of a supernet may have no weights
                (loss / len(parts) if len(parts) > 1 else loss).backward()
            found += torch.stack([loss.detach(), psnr.detach()]) / len(parts)
        mean_gradients(self.fabric, self.trained)
        found = self.fabric.all_reduce(found, reduce_op="mean")  # type: ignore[assignment]
        length = nn.utils.clip_grad_norm_(self.trained, self.keys.clip_gradient)
        loss_value, psnr_value, length_value = torch.cat([found, length[None]]).tolist()  # one wait for the device
        if not (_is_finite(loss_value) and _is_finite(length_value)):
            kept = (
                f"the last good checkpoint is {self.state}" if self.state.exists() else "no checkpoint was written yet"
            )
            found_at = f"the loss became {loss_value} (its gradient {length_value}) at step {self.step}"
            raise GraphoptError(f"{self._stage}: {found_at}; {kept}; {self._advice}")
        return loss_value, psnr_value

    @torch.no_grad()
    def update(self) -> None:
        """One step of the optimiser; the mean of the weights follows, at first faster."""
        self.optimiser.step()
        if self.average is not self.network:
            decay = min(self.keys.ema, self.step / (self.step + 10))
            torch._foreach_lerp_(list(self.average.parameters()), list(self.network.parameters()), 1 - decay)
        self.step += 1


def _is_finite(value: float) -> bool:
    return value - value == 0
