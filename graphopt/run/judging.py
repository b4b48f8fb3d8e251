"""How good the networks are: PSNR and SSIM on the test photographs, before and after, and crops side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from graphopt.progress import Progress
from graphopt.report.data import CropRow
from graphopt.run.forms import form_of, forms_of
from graphopt.run.run import Run
from graphopt.train.data import noise_of, pairs_of, write_image
from graphopt.train.metrics import Quality, psnr, quality
from graphopt.train.restorer import OnnxRestorer, Restore

Planes = NDArray[np.float32]
CROP = 128  # pixels
CROPS = 4


def judge(run: Run, place: Path, say: Progress) -> tuple[dict[str, Quality], list[CropRow]]:
    """Quality of `noisy`, `before` and `after` on all photographs; PNG files of the first few in `place`.

    `after` is what is deployed on the target of the largest weight. Where any target computes in integers, there are
    `float`, which is model.onnx, and each form of integers too.
    """
    pairs = list(pairs_of(run.test_images, noise_of(run.config.data)))
    scores: dict[str, Quality] = {}
    restored: dict[str, list[Planes]] = {}
    ways: dict[str, Restore] = {
        "noisy": lambda image: image,
        "before": OnnxRestorer(run.folder.original.read(), "the original"),
        "float": OnnxRestorer(run.folder.model.read(), run.folder.name(run.folder.model.path)),
    }
    backends = run.backends()
    forms = forms_of(backends)
    ways |= {form: OnnxRestorer(run.folder.quantised(form).read(), form) for form in forms}
    for done, (name, restore) in enumerate(ways.items()):
        say(done / len(ways), f"quality: {name}")
        images = restored.setdefault(name, [])

        def kept(image: Planes, restore: Restore = restore, images: list[Planes] = images) -> Planes:
            images.append(restore(image))
            return images[-1]

        scores[name] = quality(pairs, kept)
    after = form_of(backends[run.heaviest]) or "float"
    scores["after"], restored["after"] = scores[after], restored[after]
    if not forms:
        del scores["float"]
    crops = [
        _crop(place, photograph.name, clean, {way: restored[way][i] for way in ("noisy", "before", "after")})
        for i, (photograph, (_, clean)) in enumerate(zip(run.test_images[:CROPS], pairs, strict=False))
    ]
    return scores, crops


def _crop(place: Path, name: str, clean: Planes, images: dict[str, Planes]) -> CropRow:
    """The part of the image with the most detail, at four times its size in the page."""
    size = min(CROP, *clean.shape[1:])
    corners = [
        (top, left)
        for top in range(0, clean.shape[1] - size + 1, size // 2)
        for left in range(0, clean.shape[2] - size + 1, size // 2)
    ]
    detail = [float(clean[:, t : t + size, left : left + size].std()) for t, left in corners]
    top, left = corners[int(np.argmax(detail))]
    part = (slice(None), slice(top, top + size), slice(left, left + size))
    paths = {way: place / f"{Path(name).stem}-{way}.png" for way in images}
    for way, image in images.items():
        write_image(paths[way], image[part])
    scores = {way: psnr(image[part], clean[part]) for way, image in images.items()}
    return CropRow(
        name, paths["noisy"], paths["before"], paths["after"],
        {"noisy": scores["noisy"], "original": scores["before"], "optimised": scores["after"]},
    )  # fmt: skip
