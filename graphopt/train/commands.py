"""`graphopt pretrain`: builds the network, trains it, and writes its weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from graphopt.config.model import ModelConfig
from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.models.branches import add_branches, fuse_branches
from graphopt.models.checkpoints import load_weights, save_checkpoint
from graphopt.models.joint import JointNetwork
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.models.restoration import RestorationNet
from graphopt.models.zoo import build
from graphopt.train.pretrain import pretrain

if TYPE_CHECKING:
    from graphopt.models.zoo import Network


def pretrain_to_file(config: PretrainConfig, report: Callable[[float, str], None]) -> bool:
    """Trains by `config` and saves safetensors to its output; the checkpoint to resume from lies beside it.

    Under `torchrun` the first process saves; returns whether this is the one.
    """
    if config.output.suffix != ".safetensors":
        raise GraphoptError(f"output {config.output}: expected a name that ends in .safetensors")
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = build_model(config.model)
    if network.config.image_channels != 3:
        raise GraphoptError(
            f"model {config.model.network}: expected a network for RGB images, found {network.config.image_channels} "
            "channels; give `image_channels: 3`"
        )
    state = config.output.with_suffix(".checkpoint.pt")
    if config.weights is not None and not state.exists():
        load_weights(network, None, config.weights)
    training = JointNetwork(network) if config.joint else network
    if config.branches:
        add_branches(training)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    trained = pretrain(training, config, state, report)
    trained = trained.network if isinstance(trained, JointNetwork) else trained
    assert isinstance(trained, NAFNet | RestorationNet)
    fuse_branches(trained)
    if not torch.distributed.is_initialized():
        save_checkpoint(trained, config.output)
        return True
    is_first = torch.distributed.get_rank() == 0
    if is_first:
        save_checkpoint(trained, config.output)
    torch.distributed.destroy_process_group()
    return is_first


def build_model(config: ModelConfig) -> Network:
    """The network that a configuration asks for, with random weights from torch's seed."""
    if config.network != "nafnet":
        return build(config.network, config.options)
    return NAFNet(NAFNetConfig(**config.model_dump(exclude={"network", "options"})))
