"""Which channels a narrower layer keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def check_share(share: float, option: str = "share") -> None:
    """Raises ValueError where an option that is a share of something is not between 0 and 1."""
    if not 0 < share < 1:
        raise ValueError(f"option '{option}' is {share}; expected a number between 0 and 1")


def count_of(channels: int, share: float) -> int:
    """A share of the channels as a whole number: at least 1."""
    return max(1, round(channels * share))


def most_important(importance: NDArray[np.float32], share: float) -> NDArray[np.int64]:
    """The channels that are kept, in their order; of equals, the first ones."""
    order = np.argsort(-importance, kind="stable")
    return np.sort(order[: count_of(len(importance), share)])


def output_energy(variance: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """What each input channel (I,) adds to the variance of a convolution's output: var(x_i) * sum w[:, i]^2."""
    energy: NDArray[np.float32] = variance * np.square(weight).sum(axis=(0, 2, 3))
    return energy


def response_to(mean: NDArray[np.float32], weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """What a convolution (O, I, k, k) gives away from borders for an input that is `mean` (I,) everywhere: (O,)."""
    response: NDArray[np.float32] = weight.sum(axis=(2, 3)) @ mean
    return response
