"""The processes that share one training: this one alone, or those that `torchrun` started.

Lightning Fabric (https://lightning.ai/docs/fabric) starts them and carries what they say to each other.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import TypeVar

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from numpy.typing import NDArray
from torch import Tensor, nn

from graphopt.errors import GraphoptError
from graphopt.train.devices import find_device

T = TypeVar("T")
PATIENCE = timedelta(days=7)  # others wait while the first one tunes or compiles


def start_fabric(device: str, precision: str) -> Fabric:
    """On the device that a configuration names, in fp32 or bf16, with the processes that `torchrun` asks for."""
    on_gpu = find_device(device).type == "cuda"
    if on_gpu:
        torch.backends.cudnn.deterministic = True  # a seed gives the same weights each time
    processes = int(os.environ.get("WORLD_SIZE", 1))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", processes))
    fabric = Fabric(
        accelerator="cuda" if on_gpu else "cpu",
        devices=here,
        num_nodes=processes // here,
        strategy=DDPStrategy(timeout=PATIENCE) if processes > 1 else "auto",
        precision="bf16-mixed" if precision == "bf16" else "32-true",
        plugins=TorchElasticEnvironment() if processes > 1 else LightningEnvironment(),
    )
    fabric.launch()
    # a kernel of 1 x 1 has two layouts at once, and only the time to copy it differs
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    return fabric


def by_first(fabric: Fabric, work: Callable[[], T]) -> T:
    """What the first process finds, for all of them; or its GraphoptError."""
    if fabric.world_size == 1:
        return work()
    found: tuple[T | None, str] = (None, "")
    if fabric.is_global_zero:
        try:
            found = work(), ""
        except GraphoptError as error:
            found = None, str(error)
    result, wrong = fabric.broadcast(found)
    if wrong:
        raise GraphoptError(wrong)
    return result  # type: ignore[return-value]


def own_rows(fabric: Fabric, batch: Tensor) -> Tensor:
    """This process's part of a batch that all of them hold; all of it where it cannot be shared equally."""
    if len(batch) % fabric.world_size:
        return batch
    return batch.chunk(fabric.world_size)[fabric.global_rank]


def own_batch(fabric: Fabric, planes: Iterable[NDArray[np.float32]]) -> Iterator[Tensor]:
    """The same of every array, as tensors."""
    return (own_rows(fabric, torch.from_numpy(each)) for each in planes)


def mean(fabric: Fabric, value: Tensor) -> Tensor:
    """Of all processes, detached. Every process gets the same."""
    if fabric.world_size == 1:
        return value.detach()
    found = fabric.all_reduce(value.detach().to(fabric.device, copy=True), reduce_op="mean")
    assert isinstance(found, Tensor)
    return found.to(value.device)


def mean_gradients(fabric: Fabric, parameters: Iterable[nn.Parameter]) -> None:
    """Gives every process the mean of the gradients of all, which must have gone the same way."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if fabric.world_size == 1 or not gradients:
        return
    parts = mean(fabric, torch.cat([gradient.flatten() for gradient in gradients]))
    for gradient, part in zip(gradients, parts.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view(gradient.shape))
