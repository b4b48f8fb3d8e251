"""Runs a .tflite on this machine: LiteRT's interpreter, whose XNNPACK delegate takes what it can."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from graphopt.backends.base import Array
from graphopt.backends.quiet import quiet
from graphopt.errors import GraphoptError


def open_interpreter(
    path: Path, threads: int, inputs: Sequence[str], outputs: Sequence[str]
) -> Callable[[Sequence[Array]], list[Array]]:
    """The network of a file. What it takes and gives is (N, C, H, W) where the file holds (N, H, W, C).

    Raises:
        GraphoptError: LiteRT does not accept the file, or it has other inputs and outputs than these.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        with quiet(2):  # it says that it has made its delegate
            interpreter = Interpreter(model_path=str(path), num_threads=threads)
            interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise GraphoptError(f"LiteRT does not accept {path}: {' '.join(str(error).split())[:300]}") from error
    ends = (*interpreter.get_input_details(), *interpreter.get_output_details())
    places = {row["name"]: row["index"] for row in ends}
    missing = [name for name in (*inputs, *outputs) if name not in places]
    if missing:
        raise GraphoptError(f"{path} has no tensor '{missing[0]}'; it has {', '.join(places)}")

    def run(images: Sequence[Array]) -> list[Array]:
        for name, image in zip(inputs, images, strict=True):
            last = image.transpose(0, 2, 3, 1) if image.ndim == 4 else image
            interpreter.set_tensor(places[name], np.ascontiguousarray(last, np.float32))
        interpreter.invoke()
        made = (interpreter.get_tensor(places[name]) for name in outputs)
        return [np.ascontiguousarray(y.transpose(0, 3, 1, 2)) if y.ndim == 4 else y for y in made]

    return run
