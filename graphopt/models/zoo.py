"""The published denoisers: where each comes from, what is published of it, and how to build it. No torch on import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphopt.errors import GraphoptError, did_you_mean

if TYPE_CHECKING:
    from graphopt.models.nafnet import NAFNet
    from graphopt.models.restoration import RestorationNet

    Network = NAFNet | RestorationNet

MAI2021 = "Mobile AI 2021 denoising challenge, arXiv 2105.08629"


@dataclass(frozen=True)
class Published:
    """What the Mobile AI 2021 report says: KB of the file, PSNR in dB, SSIM, ms on its phone at 720x480, score."""

    size_kb: float
    psnr: float
    ssim: float
    latency_ms: float
    score: float


@dataclass(frozen=True)
class Entry:
    """A network: class `kind` of `graphopt.models.MODULE`, built with a `kindConfig` of `options`.

    `reading` says in a line what is not public and is ours; the module's docstring says all of it.
    """

    name: str
    title: str
    module: str
    kind: str
    source: str
    reading: str
    options: Mapping[str, Any] = field(default_factory=dict)
    published: Published | None = None
    is_raw: bool = False


_DNCNN = "Zhang et al. 2017, arXiv 1608.03981"
_LAHIRI = "Lahiri et al. 2021, arXiv 2007.05835"
_SWINIR = "Liang et al. 2021, arXiv 2108.10257"
_NAFNET = "Chen et al. 2022, arXiv 2204.04676"

NETWORKS = {
    entry.name: entry
    for entry in (
        Entry("noahtcv", "NOAHTCV, 16 channels, three levels", "noahtcv", "NoahTcv", MAI2021,
              "as published; where ReLU stands is our reading", published=Published(209, 37.52, 0.9150, 39, 53.99)),
        Entry("megvii", "Megvii, light U-Net with split decoders", "megvii", "Megvii", MAI2021,
              "levels, widths and counts of convolutions are ours, to fill the file",
              published=Published(14276, 37.83, 0.9072, 84, 38.52)),
        Entry("enerzai", "ENERZAi, shallow U-Net", "enerzai", "Enerzai", MAI2021,
              "depth and widths are ours, to fill the file", published=Published(81, 36.33, 0.8930, 11, 36.77)),
        Entry("moma", "MOMA UnetS, separable U-Net", "moma", "Moma", MAI2021,
              "widths are ours, to fill the file: the search's result is not public",
              published=Published(1404, 37.37, 0.9087, 54, 31.67)),
        Entry("enerzai-2", "ENERZAi (2nd), shallow U-Net with a dense block", "enerzai", "Enerzai", MAI2021,
              "depth, widths and dense layers are ours, to fill the file",
              {"dense_layers": 3, "activation": "prelu"}, Published(118, 36.22, 0.9023, 23, 15.1)),
        Entry("mier", "Mier, four residual blocks at a quarter of the size", "mier", "Mier", MAI2021,
              "the width is ours, to fill the file", published=Published(1528, 36.34, 0.9066, 314, 1.31)),
        Entry("gdalgo", "GdAlgo GAU-net, two stages of attention blocks", "gdalgo", "GdAlgo", MAI2021,
              "stages, levels, widths and the form of the blocks are ours, to fill the file",
              published=Published(18288, 37.84, 0.9157, 5019, 0.65)),
        Entry("feature-align", "Feature-Align Network, packed Bayer RAW", "feature_align", "FeatureAlignNet",
              "Young et al. 2021, arXiv 2103.01524", "depth, widths and resampling are ours", is_raw=True),
        Entry("dncnn", "DnCNN, 17 layers, batch norms folded", "dncnn", "DnCNN", _DNCNN, "as published"),
        Entry("list-dncnn", "DnCNN of LIST modules", "dncnn", "DnCNN", _LAHIRI,
              "which layers are replaced is our reading", {"conv": "list"}),
        Entry("unet", "U-Net with a dilated bottleneck", "unet", "UNet", _LAHIRI, "depth and widths are ours"),
        Entry("list-unet", "U-Net of LIST and GSAT modules, bilinear resizing", "unet", "UNet", _LAHIRI,
              "depth and widths are ours", {"conv": "list"}),
        Entry("litedenoise", "LiteDenoiseNet, plain U-Net of widths 16 to 256", "litedenoise", "LiteDenoise",
              "Mobile AI 2026 denoising challenge", "convolutions a level and pooling are ours"),
        Entry("mfdnet", "MFDNet-like, Haar transforms and attention at a quarter", "mfdnet", "Mfd",
              "Liu et al. 2022, arXiv 2211.04687", "all but the ideas is ours"),
        Entry("swinir-light", "SwinIR, embedding 60, four groups", "swinir", "SwinIR", _SWINIR,
              "the published lightweight size with the denoiser's ends"),
        Entry("swinir", "SwinIR, the published denoiser", "swinir", "SwinIR", _SWINIR, "as published",
              {"embedding": 180, "depths": (6, 6, 6, 6, 6, 6)}),
        Entry("nafnet-width32", "NAFNet, 36 blocks, width 32", "nafnet", "NAFNet", _NAFNET, "as published"),
        Entry("nafnet-width64", "NAFNet, 36 blocks, width 64", "nafnet", "NAFNet", _NAFNET, "as published",
              {"width": 64}),
    )
}  # fmt: skip


def find_entry(name: str) -> Entry:
    """The network of that name; GraphoptError names the nearest one."""
    if name not in NETWORKS:
        raise GraphoptError(f"unknown network '{name}'; {did_you_mean(name, NETWORKS)}")
    return NETWORKS[name]


def build(name: str, options: Mapping[str, Any] | None = None) -> Network:
    """The network with torch's random weights; `options` replace the entry's. GraphoptError for what does not fit."""
    from pydantic import TypeAdapter, ValidationError

    entry = find_entry(name)
    module = import_module(f"graphopt.models.{entry.module}")
    config_kind = getattr(module, f"{entry.kind}Config")
    content = {**entry.options, **(options or {})}
    known = list(config_kind.__dataclass_fields__)
    unknown = [key for key in content if key not in known]
    if unknown:
        raise GraphoptError(f"network '{name}': unknown option '{unknown[0]}'; {did_you_mean(unknown[0], known)}")
    try:
        config = TypeAdapter(config_kind).validate_python(content)
    except ValidationError as error:
        detail = error.errors()[0]
        where, words = ".".join(str(part) for part in detail["loc"]), detail["msg"].removeprefix("Value error, ")
        found = f"option '{where}': {words}, found {detail['input']!r}" if where else words
        raise GraphoptError(f"network '{name}': {found}") from error
    network: Network = getattr(module, entry.kind)(config)
    return network


def unfilled(name: str) -> Network:
    """A network of NETWORKS without memory for its weights: to count them."""
    import torch

    with torch.device("meta"):
        return build(name)


def build_random(name: str, seed: int = 0) -> Network:
    """A network of NETWORKS whose random weights are the same each time."""
    import torch

    torch.manual_seed(seed)
    return build(name)


def describe(network: Network) -> tuple[str, dict[str, Any]]:
    """A name and options that `build` makes the same network from."""
    kind = type(network).__name__
    name = next(name for name, entry in NETWORKS.items() if entry.kind == kind)
    return name, asdict(network.config)
