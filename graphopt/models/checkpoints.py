"""Networks from files: official NAFNet checkpoints, safetensors, and the networks that ship with graphopt."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from graphopt.errors import GraphoptError
from graphopt.models.nafnet import NAFNet, NAFNetConfig


def load_checkpoint(path: Path) -> NAFNet:
    """A NAFNet with the weights of a file; width and depths follow from the weights.

    Takes the official layout (`params` or `state_dict` around the weights) and plain state dicts, unchanged, with
    `weights_only`. Raises GraphoptError for a file that is missing, unreadable or another network's.
    """
    weights = _read(path)
    network = NAFNet(_config_of(weights, path))
    expected = network.state_dict()
    missing, unknown = sorted(expected.keys() - weights.keys()), sorted(weights.keys() - expected.keys())
    if missing or unknown:
        raise GraphoptError(
            f"checkpoint {path} is not a NAFNet of this form: missing {_some(missing)}; unknown {_some(unknown)}"
        )
    wrong = [key for key in expected if expected[key].shape != weights[key].shape]
    if wrong:
        found = f"{wrong[0]} has the shape {tuple(weights[wrong[0]].shape)}"
        raise GraphoptError(f"checkpoint {path}: {found}, expected {tuple(expected[wrong[0]].shape)}")
    network.load_state_dict(weights)
    return network.eval()


def save_checkpoint(network: NAFNet, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise GraphoptError(f"checkpoint {path} does not exist")
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with warnings.catch_warnings():  # about the pickle protocol of files that are then refused anyway
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both readers raise all sorts of errors for what is no checkpoint
        raise GraphoptError(
            f"checkpoint {path} cannot be read as weights ({type(error).__name__}); expected safetensors, "
            "or a file by torch.save that holds tensors and no other objects"
        ) from error
    for key in ("params", "state_dict"):
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    pairs = content.items() if isinstance(content, dict) else [(None, content)]
    if not all(isinstance(key, str) and isinstance(value, Tensor) for key, value in pairs):
        raise GraphoptError(
            f"checkpoint {path} holds no state dict: expected names and tensors, or `params` around them"
        )
    return {str(key).removeprefix("module."): value for key, value in pairs}


def _config_of(weights: dict[str, Tensor], path: Path) -> NAFNetConfig:
    if "intro.weight" not in weights or weights["intro.weight"].ndim != 4:
        keys = _some(sorted(weights))
        raise GraphoptError(f"checkpoint {path} is not a NAFNet: it has no convolution 'intro'; its keys begin {keys}")
    width, channels = weights["intro.weight"].shape[:2]

    def blocks(prefix: str) -> int:
        found = [int(m.group(1)) for key in weights if (m := re.match(rf"{re.escape(prefix)}\.(\d+)\.", key))]
        return max(found, default=-1) + 1

    if blocks("downs") != blocks("ups"):
        levels = f"{blocks('downs')} levels down and {blocks('ups')} up"
        raise GraphoptError(f"checkpoint {path} is not a NAFNet: it has {levels}, expected as many of each")
    return NAFNetConfig(
        width=width,
        encoder_blocks=tuple(blocks(f"encoders.{level}") for level in range(blocks("downs"))),
        middle_blocks=blocks("middle_blks"),
        decoder_blocks=tuple(blocks(f"decoders.{level}") for level in range(blocks("ups"))),
        image_channels=channels,
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "nothing"
