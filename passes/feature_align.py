"""feature-align: the noisy input modulates the features of each level, from encoder to decoder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from graphopt import Contract, Pass, Term, op, pattern
from graphopt.idioms import conv_of, pixel_shuffle

if TYPE_CHECKING:
    from graphopt import Build, GraphView, Match, Site

UPSAMPLING = frozenset({"DepthToSpace", "ConvTranspose", "Resize"})


@pattern
def downsample(x: Term) -> Term:
    return conv_of(x, strides=(2, 2))


@pattern
def added_skip(a: Term, b: Term) -> Term:
    return op.Add(a, b)


@pattern
def joined_skip(a: Term, b: Term) -> Term:
    return op.Concat(a, b, axis=1)


@dataclass(frozen=True)
class FeatureAlign(Pass):
    """y  ->  y + y * s + t of [s, t] = conv3x3(mean(image)), at the start of each level; starts as y exactly.

    y is a strided convolution of the encoder, or the sum or concatenation of upsampling and skip in the decoder;
    mean is over squares, to the size of y. The conv starts as zeros. After Young et al., "Feature-Align Network"
    (arXiv 2103.01524): depth washes the noise away that later levels need to see.
    """

    name: ClassVar[str] = "feature-align"
    contract: ClassVar[Contract] = Contract.TUNED

    def sites(self, graph: GraphView) -> Iterator[Site]:
        images = [tensor for tensor in graph.graph.inputs if tensor.shape is not None and len(tensor.shape) == 4]
        if len(images) != 1:
            return

        def uneven(match: Match) -> str | None:
            size, level = images[0].shape[2:], match.output.shape[2:]
            ratio = size[0] // level[0] if level[0] else 0
            if ratio and [ratio * side for side in level] == list(size):
                return None
            return f"expected a level whose size divides that of the image, found {level} and {size}"

        sites = graph.find(downsample, label="downsample", unless=uneven)
        upsampled = {tensor.name for node in graph.nodes.values() if node.op in UPSAMPLING for tensor in node.outputs}
        upsampled |= {site.outputs["output"] for site in graph.find(pixel_shuffle, quiet=True)}
        for skip in (added_skip, joined_skip):
            found = graph.find(skip, label="level", quiet=True)
            sites += [site for site in found if _is_level(site, graph) and upsampled & {*site.inputs.values()}]
        for site in sites:
            yield replace(site, inputs={**site.inputs, "image": images[0].name})

    def rewrite(self, site: Site, build: Build) -> object:
        y = self._level(site, build)
        image, (_, channels, height, _) = build.input("image"), build.shape("output")
        ratio = build.shape("image")[2] // height
        small = build.average_pool(image, ratio) if ratio > 1 else image
        zeros = np.zeros((2 * channels, build.shape("image")[1], 3, 3))
        align = build.parameter("align", zeros), build.parameter("align_bias", zeros[:, 0, 0, 0])
        scale, shift = build.split(build.conv(small, *align), [channels, channels])
        return build.add(y, build.add(build.mul(y, scale), shift))

    def _level(self, site: Site, build: Build) -> Any:
        """The site's own op, with copies of its weights."""
        if "x" not in site.inputs:
            both = [build.input("a"), build.input("b")]
            return build.concat(both) if build.shape("output") != build.shape("a") else build.add(*both)
        weights = [build.parameter(role, build.values(role)) for role in ("weight", "bias") if role in site.constants]
        return build.op("Conv", [build.input("x"), *weights], **build.attributes("Conv"))


def _is_level(site: Site, graph: GraphView) -> bool:
    """Whether the image can be averaged down to its size."""
    image, level = graph.graph.inputs[0].shape, graph.tensors[site.outputs["output"]].shape
    return image[2] % level[2] == 0 and [image[2] // level[2] * side for side in level[2:]] == list(image[2:])
