"""Networks from files: official NAFNet checkpoints, and safetensors of every network that graphopt can build."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graphopt.atomic import replacing
from graphopt.errors import GraphoptError
from graphopt.models.nafnet import NAFNet, NAFNetConfig
from graphopt.models.specialised import NoiseSelector, Specialised
from graphopt.models.zoo import build, describe

if TYPE_CHECKING:
    from graphopt.models.zoo import Network


def load_checkpoint(path: Path) -> Network | Specialised:
    """The network of a file with its weights: what `save_checkpoint` wrote, or a NAFNet.

    A NAFNet's file needs to say nothing: width and depths follow from the weights. Takes the official layout (`params`
    or `state_dict` around the weights) and plain state dicts, unchanged, with `weights_only`. Raises GraphoptError for
    a file that is missing, unreadable or another network's.
    """
    weights = _read(path)
    said = _said(path)
    network = _build(said) if said else NAFNet(_config_of(weights, path))
    load_weights(network, weights, path)
    return network.eval()


def load_weights(network: nn.Module, weights: dict[str, Tensor] | None, path: Path) -> None:
    """Puts the weights of a file into `network`, in place; GraphoptError names the keys that differ."""
    weights = _read(path) if weights is None else weights
    found = differences(network.state_dict(), weights)
    if found:
        kind = type(network).__name__
        raise GraphoptError(
            f"checkpoint {path} is not a {kind} of this form: {found}; give a file of the same network with the same "
            "options"
        )
    network.load_state_dict(weights)


def differences(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """How the keys and shapes of two state dicts differ, in a line; empty where they do not."""
    missing, unknown = sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys())
    other = [key for key in expected if key in found and expected[key].shape != found[key].shape]
    parts = [f"{word} {_some(keys)}" for word, keys in (("missing", missing), ("unknown", unknown)) if keys]
    if other:
        shapes = f"{tuple(found[other[0]].shape)}, expected {tuple(expected[other[0]].shape)}"
        more = f" (and {len(other) - 1} more of another shape)" if len(other) > 1 else ""
        parts.append(f"{other[0]} has the shape {shapes}{more}")
    if not parts:
        return ""
    same = len(expected) - len(missing) - len(other)
    return f"{'; '.join(parts)}; {same} of {len(expected)} keys agree"


def save_checkpoint(network: Network | Specialised, path: Path) -> None:
    """Writes safetensors; the file of anything but a NAFNet says which network it is, and with which options."""
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.contiguous() for key, value in network.state_dict().items()}
    content: dict[str, Any] | None = None
    if not isinstance(network, NAFNet):
        name, options = describe(network.networks[0] if isinstance(network, Specialised) else network)  # type: ignore[arg-type]
        content = {"network": name, "options": options}
    if isinstance(network, Specialised):
        content = {**(content or {}), "bounds": network.bounds}
    with replacing(path) as temporary:
        save_file(weights, temporary, {"graphopt": json.dumps(content)} if content else None)


def _build(said: Mapping[str, Any]) -> Network | Specialised:
    if "bounds" not in said:
        return build(said["network"], said["options"])
    networks = [build(said["network"], said["options"]) for _ in range(len(said["bounds"]) + 1)]
    selector = NoiseSelector(len(networks), networks[0].config.image_channels)
    return Specialised(networks, said["bounds"], selector)


def _said(path: Path) -> dict[str, Any] | None:
    """The name and options of the network that a safetensors file holds, where it says so."""
    if path.suffix.lower() != ".safetensors":
        return None
    with safe_open(path, "pt") as content:
        metadata = content.metadata() or {}
    if "weights_of" in metadata:
        raise GraphoptError(
            f"checkpoint {path} holds the weights of {metadata['weights_of']} and no network; give that ONNX file"
        )
    text = metadata.get("graphopt")
    try:
        said: dict[str, Any] | None = json.loads(text) if text else None
        if said is not None and not (isinstance(said["network"], str) and isinstance(said["options"], dict)):
            raise TypeError
        if said is not None and not all(isinstance(bound, float | int) for bound in said.get("bounds", ())):
            raise TypeError
    except (ValueError, KeyError, TypeError) as error:
        raise GraphoptError(
            f"checkpoint {path}: its metadata 'graphopt' names no network and options; write it with graphopt"
        ) from error
    return said


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
