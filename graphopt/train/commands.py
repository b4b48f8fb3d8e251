"""`graphopt pretrain`: builds the network, trains it, and writes its weights."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from graphopt.config.model import ModelConfig
from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.models.branches import add_branches, fuse_branches
from graphopt.models.checkpoints import load_weights, save_checkpoint
from graphopt.models.joint import JointNetwork
from graphopt.models.nafnet import NAFNet
from graphopt.models.restoration import RestorationNet
from graphopt.models.specialised import NoiseSelector, Specialised
from graphopt.models.zoo import build
from graphopt.progress import Progress
from graphopt.train.pretrain import pretrain
from graphopt.train.specialised import train_selector

if TYPE_CHECKING:
    from graphopt.models.zoo import Network

RAW_CHANNELS = 4  # R, G, G, B
SELECTOR_SHARE = 0.05  # of the progress that is shown


def pretrain_to_file(config: PretrainConfig, report: Progress) -> bool:
    """Trains by `config` and saves safetensors to its output; the checkpoint to resume from lies beside it.

    Under `torchrun` the first process saves; returns whether this is the one.
    """
    if config.output.suffix != ".safetensors":
        raise GraphoptError(f"output {config.output}: expected a name that ends in .safetensors")
    if config.threads:
        torch.set_num_threads(config.threads)
    config.output.parent.mkdir(parents=True, exist_ok=True)
    if config.specialised is None:
        trained: Network | Specialised = _train(config, config.output.with_suffix(".checkpoint.pt"), report)
    else:
        trained = _train_specialised(config, report)
    if not torch.distributed.is_initialized():
        save_checkpoint(trained, config.output)
        return True
    is_first = torch.distributed.get_rank() == 0
    if is_first:
        save_checkpoint(trained, config.output)
    torch.distributed.destroy_process_group()
    return is_first


def _train(config: PretrainConfig, state: Path, report: Progress) -> Network:
    """One network, in the form in which it is deployed."""
    torch.manual_seed(config.seed)
    network = build_model(config.model, config.source.is_packed)
    if config.weights is not None and not state.exists():
        load_weights(network, None, config.weights)
    training = JointNetwork(network) if config.joint else network
    if config.branches:
        add_branches(training)
    trained = pretrain(training, config, state, report)
    trained = trained.network if isinstance(trained, JointNetwork) else trained
    assert isinstance(trained, NAFNet | RestorationNet)
    fuse_branches(trained)
    return trained


def _train_specialised(config: PretrainConfig, report: Progress) -> Specialised:
    """The selector, then a network for each range of noise on that range alone: a checkpoint for each of them."""
    assert config.specialised is not None
    ranges = list(pairwise(config.edges))
    shares = [SELECTOR_SHARE] + [(1 - SELECTOR_SHARE) / len(ranges)] * len(ranges)

    def part(place: int, name: str) -> tuple[Path, Progress]:
        before, share = sum(shares[:place]), shares[place]
        state = config.output.with_suffix(f".{name.replace(' ', '')}.checkpoint.pt")  # other bounds, another file
        return state, lambda done, words: report(before + share * done, f"{name}: {words}")

    torch.manual_seed(config.seed)
    selector = NoiseSelector(len(ranges), build_model(config.model, config.source.is_packed).config.image_channels)
    name = f"selector {'-'.join(f'{edge:g}' for edge in config.edges)}"
    selector = train_selector(selector, config, *part(0, name))
    networks = []
    for place, (low, high) in enumerate(ranges):
        data = config.source.model_copy(update={"sigma": (low, high)})
        networks.append(_train(config.model_copy(update={"data": data}), *part(place + 1, f"sigma {low:g}-{high:g}")))
    return Specialised(networks, config.specialised, selector)


def build_model(config: ModelConfig, packed: bool = False) -> Network:
    """The network that a configuration asks for, with random weights from torch's seed.

    It must take RGB images or, where they are `packed`, Bayer RAW; for that it has four channels without being told.
    """
    name, options = config.network, config.options
    if name == "nafnet":
        name, options = "nafnet-width32", config.model_dump(exclude={"network", "options"}, exclude_none=True)
    if packed:
        options = {"image_channels": RAW_CHANNELS, **options}
    network = build(name, options)
    found = network.config.image_channels
    if packed and found != RAW_CHANNELS:
        raise GraphoptError(
            f"model {config.network}: expected a network for packed Bayer RAW ({RAW_CHANNELS} channels), found {found} "
            "channels; leave out `image_channels`, or `noise: bayer`"
        )
    if not packed and found != 3:
        raise GraphoptError(
            f"model {config.network}: expected a network for RGB images, found {found} channels; give `image_channels: "
            "3`, or `data: {noise: bayer}` to train it on packed Bayer RAW"
        )
    return network
