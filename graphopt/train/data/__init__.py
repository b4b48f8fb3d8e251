"""What networks are trained on and judged by: photographs with noise, and pairs of noisy and clean images."""

from graphopt.train.data.bayer import PackedRaw, packed_of
from graphopt.train.data.images import check_image_name, list_images, read_image, to_planes, write_image
from graphopt.train.data.noise import Gaussian, Noise, add_noise, noise_of
from graphopt.train.data.photographs import Photograph, photographs_digest
from graphopt.train.data.sampler import PatchSampler
from graphopt.train.data.sources import calibration, open_photographs, pairs_of

__all__ = [
    "Gaussian", "Noise", "PackedRaw", "PatchSampler", "Photograph", "add_noise", "calibration", "check_image_name",
    "list_images", "noise_of", "open_photographs", "packed_of", "pairs_of", "photographs_digest", "read_image",
    "to_planes", "write_image",
]  # fmt: skip
