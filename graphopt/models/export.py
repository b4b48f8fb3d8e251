"""A network as ONNX files: one that is published, with random or given weights, or a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graphopt.atomic import replacing
from graphopt.errors import GraphoptError

CHECKPOINTS = (".pth", ".pt", ".safetensors")


@dataclass(frozen=True)
class Exported:
    """The files, the network itself first, then its parts. `difference`: the largest from torch, relative."""

    files: list[Path]
    parameters: int
    difference: float
    size: tuple[int, int]  # height and width of the image
    stride: int  # of the network: images of other multiples are padded with zeros, and cropped back

    @property
    def padded(self) -> tuple[int, int] | None:
        """Height and width after padding, where the image needs any."""
        height, width = (extent + -extent % self.stride for extent in self.size)
        return None if (height, width) == self.size else (height, width)


def export_to_files(name: str, output: Path, size: str, weights: Path | None = None, seed: int = 0) -> Exported:
    """Writes a published network, or the checkpoint `name`, for images of `size` (WIDTHxHEIGHT); checked with torch.

    Of networks specialised by noise, `output` chooses among all; beside it, each lies in a file of its own.

    Raises:
        GraphoptError: an unknown network, weights that do not fit, a place that cannot be written, another result.
    """
    from graphopt.models.zoo import find_entry

    is_file = Path(name).suffix.lower() in CHECKPOINTS
    if not is_file:
        find_entry(name)
    elif weights is not None:
        raise GraphoptError(f"{name} holds weights of its own; leave out --weights")
    if output.suffix.lower() != ".onnx":
        raise GraphoptError(f"cannot write {output}: expected a name that ends in .onnx")
    if not output.parent.is_dir():
        raise GraphoptError(f"cannot write {output}: the folder {output.parent} does not exist")
    import onnx

    from graphopt.models.checkpoints import load_checkpoint, load_weights
    from graphopt.models.source import check_export, export_network, parse_size
    from graphopt.models.specialised import Specialised
    from graphopt.models.specialised_export import export_specialised
    from graphopt.models.zoo import build_random

    extent = parse_size(size)
    network = load_checkpoint(Path(name)) if is_file else build_random(name, seed).eval()
    if weights is not None:
        load_weights(network, None, weights)
    if isinstance(network, Specialised):
        models, difference = export_specialised(network, extent, name)
    else:
        models = {"": export_network(network, extent)}
        difference = check_export(network, models[""], name)
    files = {output.with_suffix(f".{part}.onnx" if part else ".onnx"): model for part, model in models.items()}
    for path, model in files.items():
        with replacing(path) as temporary:
            onnx.save(model, temporary)
    count = sum(parameter.numel() for parameter in network.parameters())
    return Exported(list(files), count, difference, extent, network.config.stride)
