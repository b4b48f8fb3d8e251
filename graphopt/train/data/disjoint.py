"""Photographs in two: weights and choices never train on the same pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphopt.train.data.images import Pixels
from graphopt.train.data.photographs import Photograph, Shelf, Views
from graphopt.train.data.sampler import PatchSampler


def disjoint(sampler: PatchSampler, held_out: float, seed: int) -> tuple[PatchSampler, PatchSampler]:
    """(for weights, for choices): of every image the left part, and the right `held_out` share of its columns.

    By parts, not by files: with a few photographs, each side would see other kinds of content, and with one photograph
    one side would see none. Copies of a photograph at several scales are cut at the same place.
    """
    left, right = ([_part(image, held_out, kept) for image in sampler.images] for kept in (False, True))
    return (
        replace(sampler, images=left, random=np.random.default_rng([seed, 0]), shelf=Shelf()),
        replace(sampler, images=right, random=np.random.default_rng([seed, 0, 1]), shelf=Shelf()),
    )


def _part(image: Pixels | Photograph, held_out: float, kept: bool) -> Pixels | Photograph:
    """The columns that are held out, or the others; those of a photograph are cut when it is read."""
    if isinstance(image, Photograph):

        def read() -> Views:
            clean, noisy = image.read()
            return _columns(clean, held_out, kept), None if noisy is None else _columns(noisy, held_out, kept)

        return replace(image, read=read)
    return _columns(image, held_out, kept)


def _columns(pixels: Pixels, held_out: float, kept: bool) -> Pixels:
    cut = min(max(1, round(pixels.shape[1] * (1 - held_out))), pixels.shape[1] - 1)
    return pixels[:, cut:] if kept else pixels[:, :cut]
