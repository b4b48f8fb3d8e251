"""Converts one ONNX file with MNN's converter in this process, and runs what it wrote; MNN talks on stdout.

    python -m graphopt.backends.mnn.child MODEL.onnx FILE.mnn IMAGES.npz RESULTS.npz float32|float16 INPUTS OUTPUTS

INPUTS and OUTPUTS are JSON lists of names, in the order of images and results. It is a process of its own, because both
converter and runtime end theirs where they trip over a network; onnx is not imported, which takes longer than the work.
The converter is called itself, without the command `mnnconvert` of its wheel: that one installs a package, and sends to
its makers what was converted and on which machine.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np


def main(model: str, file: str, images: str, results: str, dtype: str, inputs: str, outputs: str) -> int:
    """0 where there is a file, and a result; 1 where the converter wrote none."""
    import _tools  # MNN's converter, as its wheel names it

    is_half = dtype == "float16"
    half = ["--fp16"] if is_half else []
    _tools.mnnconvert(
        ["mnnconvert", "-f", "ONNX", "--modelFile", model, "--MNNModel", file, "--bizCode", "graphopt", *half]
    )
    if not Path(file).exists():  # what it returns says nothing
        return 1
    from graphopt.backends.mnn.runtime import load

    run = load(Path(file), json.loads(inputs), json.loads(outputs), 1, is_half)
    with np.load(images) as found:
        given = [found[name] for name in found.files]
    run([np.zeros_like(image) for image in given])  # so that what an op leaves unwritten is not right by chance
    np.savez(results, *run(given))
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
