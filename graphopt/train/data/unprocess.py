"""Noise of a camera's sensor on ordinary photographs: back to raw pixels, Poisson-Gaussian noise, and forth again.

After Brooks et al., "Unprocessing Images for Learned Raw Denoising" (CVPR 2019, arXiv 1811.11127), whose tone curve,
colour matrices, gains and noise levels are used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve

Planes = NDArray[np.float32]
GAMMA = 2.2
XYZ_TO_CAMERA = np.array(
    [
        [[1.0234, -0.2969, -0.2266], [-0.5625, 1.6328, -0.0469], [-0.0703, 0.2188, 0.6406]],
        [[0.4913, -0.0541, -0.0202], [-0.6130, 1.3513, 0.2906], [-0.1564, 0.2151, 0.7183]],
        [[0.8380, -0.2630, -0.0639], [-0.2887, 1.0725, 0.2496], [-0.0627, 0.1427, 0.5438]],
        [[0.6596, -0.2079, -0.0562], [-0.4782, 1.3016, 0.1933], [-0.0970, 0.1581, 0.5181]],
    ]
)
RGB_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
AT_GREEN = np.array([[0, 1, 0], [1, 4, 1], [0, 1, 0]], np.float32) / 4
AT_OTHERS = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]], np.float32) / 4


@dataclass(frozen=True)
class Camera:
    """How one camera makes RGB of what its sensor saw. `to_camera`: linear RGB -> sensor colours, rows of sum 1.

    `gains` (3,) make the sensor's colours white-balanced and bright.
    """

    to_camera: NDArray[np.float64]
    gains: NDArray[np.float64]

    @classmethod
    def random(cls, random: np.random.Generator) -> Camera:
        weights = random.uniform(1e-8, 1, (len(XYZ_TO_CAMERA), 1, 1))
        matrix = (XYZ_TO_CAMERA * weights).sum(0) / weights.sum() @ RGB_TO_XYZ
        brightness = 1 / random.normal(0.8, 0.1)
        gains = np.array([random.uniform(1.9, 2.4), 1.0, random.uniform(1.5, 1.9)]) * brightness
        return cls(matrix / matrix.sum(1, keepdims=True), gains)

    def unprocess(self, image: Planes) -> Planes:
        """sRGB (3, H, W) in [0, 1] -> linear sensor colours (3, H, W) in [0, 1], before the mosaic."""
        curve = 0.5 - np.sin(np.arcsin(1 - 2 * np.clip(image, 0, 1)) / 3)  # inverse of 3 x^2 - 2 x^3
        linear = np.maximum(curve, 1e-8) ** GAMMA
        colours = np.tensordot(self.to_camera, linear, 1)
        return np.clip(_safe_inverse_gains(colours, self.gains), 0, 1).astype(np.float32)

    def process(self, colours: Planes) -> Planes:
        """Linear sensor colours (3, H, W) -> sRGB in [0, 1]."""
        balanced = np.clip(colours * self.gains[:, None, None], 0, 1)
        linear = np.clip(np.tensordot(np.linalg.inv(self.to_camera), balanced, 1), 1e-8, 1)
        curve = linear ** (1 / GAMMA)
        return (3 * curve**2 - 2 * curve**3).astype(np.float32)


@dataclass(frozen=True)
class RawNoise:
    """noisy = clean + process(demosaic(raw + n)) - process(demosaic(raw)), n ~ N(0, shot * raw + read).

    The difference keeps the noise of a real camera (it depends on the signal and is correlated over pixels and
    colours) and leaves out what the mosaic itself costs. `shot` is log-uniform in its range; `read` (a variance too)
    likewise, or where it is None follows shot: ln read = 2.18 ln shot + 1.20 + N(0, 0.26).
    """

    shot: tuple[float, float] = (1e-4, 0.012)
    read: tuple[float, float] | None = None

    def __call__(self, clean: Planes, random: np.random.Generator) -> Planes:
        if clean.ndim > 3:
            return np.stack([self(image, random) for image in clean])
        camera = Camera.random(random)
        raw, noise = self.sensed(clean, camera, random)
        return clean + camera.process(demosaic(raw + noise)) - camera.process(demosaic(raw))

    def sensed(self, clean: Planes, camera: Camera, random: np.random.Generator) -> tuple[Planes, Planes]:
        """(raw, n), (H, W) each: what the sensor of `camera` sees of the image (3, H, W), and its noise."""
        shot = _log_uniform(self.shot, random)
        follows = np.exp(2.18 * np.log(shot) + 1.20 + random.normal(0, 0.26))
        read = follows if self.read is None else _log_uniform(self.read, random)
        raw = mosaic(camera.unprocess(clean))
        noise = random.standard_normal(raw.shape, dtype=np.float32) * np.sqrt(shot * raw + read).astype(np.float32)
        return raw, noise


def mosaic(colours: Planes) -> Planes:
    """(3, H, W) -> (H, W): the colour that each pixel of an RGGB sensor sees."""
    raw = colours[1].copy()
    raw[0::2, 0::2] = colours[0, 0::2, 0::2]
    raw[1::2, 1::2] = colours[2, 1::2, 1::2]
    return raw


def demosaic(raw: Planes) -> Planes:
    """(H, W) -> (3, H, W), bilinear. Mirrored at the borders, which keeps the pattern."""
    red, blue = np.zeros_like(raw), np.zeros_like(raw)
    red[0::2, 0::2] = raw[0::2, 0::2]
    blue[1::2, 1::2] = raw[1::2, 1::2]
    green = raw - red - blue
    kernels = ((red, AT_OTHERS), (green, AT_GREEN), (blue, AT_OTHERS))
    return np.stack([convolve(plane, kernel, mode="mirror") for plane, kernel in kernels])


def _safe_inverse_gains(colours: NDArray[np.float64], gains: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divides by the gains, but leaves what is nearly white as it is: a sensor's full pixels are white."""
    gray = colours.mean(0, keepdims=True)
    white = (np.maximum(gray - 0.9, 0) / 0.1) ** 2
    inverse = 1 / gains[:, None, None]
    return colours * np.maximum(white + (1 - white) * inverse, inverse)


def _log_uniform(span: tuple[float, float], random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(np.log(span[0]), np.log(span[1]))))
