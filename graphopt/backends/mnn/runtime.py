"""MNN's runtime on this machine's CPU. It writes to the file that stdout is, whatever Python calls stdout: not here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphopt.backends.quiet import quiet
from graphopt.errors import GraphoptError

if TYPE_CHECKING:
    from graphopt.backends.base import Array, Loaded


def load(file: Path, inputs: Sequence[str], outputs: Sequence[str], threads: int, half: bool) -> Loaded:
    """The network of a `.mnn` file: inputs in the order of their names -> outputs in that of theirs. `half`: in half
    precision where the processor can.

    Raises:
        GraphoptError: MNN cannot read the file, or does not find the names in it.
    """
    with quiet(1):  # its own words
        from MNN import expr, nn

        precision = "low" if half else "high"
        manager = nn.create_runtime_manager(({"backend": "CPU", "precision": precision, "numThread": threads},))
        try:
            module = nn.load_module_from_file(str(file), list(inputs), list(outputs), runtime_manager=manager)
        except SystemError as error:
            raise GraphoptError(f"{file}: MNN cannot read it; build it again") from error

    def run(images: Sequence[Array]) -> list[Array]:
        given = [expr.const(np.ascontiguousarray(x, np.float32), list(x.shape), expr.NCHW) for x in images]
        made = module.onForward(given)
        if len(made) != len(outputs):
            shapes = ", ".join("x".join(map(str, x.shape)) for x in images)
            raise GraphoptError(f"{file}: MNN cannot run it on images of {shapes}")
        return [np.array(value.read()) for value in made]  # a copy: the next run writes to the same memory

    return run
