"""The LIST module of Lahiri et al. (arXiv 2007.05835), which stands in for a dense convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphopt.idioms.channels import response_to
from graphopt.idioms.factors import low_rank, rank_one, second_moment

if TYPE_CHECKING:
    from graphopt.ir.build import Build

Array = NDArray[np.float32]


def list_module(
    build: Build, x: Any, weight: Array, bias: Array | None, samples: Array, results: Array | None = None
) -> Any:
    """A LIST module that starts near `weight` (O, I, k, k) * x + `bias`, for x of `samples` (n, I).

    `results` (n, O) are what the convolution gives at the samples; without them, its taps are summed up.
    """
    outputs, inputs, size = weight.shape[:3]
    squeezed, half = max(1, inputs // 4), outputs // 2
    taps = weight.transpose(0, 2, 3, 1).reshape(-1, inputs)  # (O k k, I)
    left, squeeze = low_rank(taps, second_moment(samples), squeezed)
    mixed = left.reshape(outputs, size * size, squeezed)
    if results is None:
        point = mixed[:half].sum(axis=1)  # (O / 2, I / 4)
    else:
        source = (samples - samples.mean(axis=0)) @ squeeze.T
        point = np.linalg.lstsq(source, (results - results.mean(axis=0))[:, :half], rcond=1e-4)[0].T
    mix, kernels = rank_one(mixed[half:].transpose(2, 0, 1))  # (I / 4, O / 2), (I / 4, k k)
    first = np.concatenate([point, mix.T * kernels.sum(axis=1)])
    shift = response_to(samples.mean(axis=0), weight - (first @ squeeze)[:, :, None, None] / size**2)
    shift = shift if bias is None else shift + bias

    def by_point(y: Any, name: str, values: Array, shift: Array) -> Any:
        return build.conv(y, build.parameter(name, values[:, :, None, None]), build.parameter("bias", shift))

    s = build.conv(x, build.parameter("squeeze", squeeze[:, :, None, None]))
    depthwise = build.parameter("depthwise", kernels.reshape(squeezed, 1, size, size))
    local = build.conv(s, depthwise, group=squeezed)
    return build.concat([by_point(s, "point", point, shift[:half]), by_point(local, "mix", mix.T, shift[half:])])
