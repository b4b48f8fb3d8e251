"""`graphopt pretrain`: builds the network, trains it, and writes its weights."""

from __future__ import annotations

from collections.abc import Callable

import torch

from graphopt.config import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.models.checkpoints import save_checkpoint
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.train.pretrain import pretrain


def pretrain_to_file(config: PretrainConfig, report: Callable[[float, str], None]) -> bool:
    """Trains by `config` and saves safetensors to its output; the checkpoint to resume from lies beside it.

    Under `torchrun` the first process saves; returns whether this is the one.
    """
    if config.output.suffix != ".safetensors":
        raise GraphoptError(f"output {config.output}: expected a name that ends in .safetensors")
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = NAFNet(NAFNetConfig(**config.model.model_dump()))
    config.output.parent.mkdir(parents=True, exist_ok=True)
    trained = pretrain(network, config, config.output.with_suffix(".checkpoint.pt"), report)
    assert isinstance(trained, NAFNet)
    if not torch.distributed.is_initialized():
        save_checkpoint(trained, config.output)
        return True
    is_first = torch.distributed.get_rank() == 0
    if is_first:
        save_checkpoint(trained, config.output)
    torch.distributed.destroy_process_group()
    return is_first
