"""LiteRT's interpreter: layouts, files that it refuses, and silence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tflite import needs_runtime, tflite

from graphopt.backends.litert.flatbuffer import write
from graphopt.backends.litert.runtime import open_interpreter
from graphopt.errors import GraphoptError


@needs_runtime
def test_images_come_and_go_with_their_channels_first(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    shapes = {"x": (1, 3, 5, 2), "y": (1, 3, 5, 2), "v": (4,), "w": (4,)}
    model = tflite([("NEG", ["x"], ["y"]), ("ABS", ["v"], ["w"])], shapes, ["v", "x"], ["w", "y"])
    (tmp_path / "two.tflite").write_bytes(write(model))
    run = open_interpreter(tmp_path / "two.tflite", 1, ["x", "v"], ["y", "w"])  # not in the order of the file
    x, v = np.random.default_rng(0).random((1, 2, 3, 5), np.float32), np.array([-1, 2, -3, 0], np.float32)
    for _ in range(2):
        y, w = run([x, v])
        np.testing.assert_array_equal(y, -x)
        np.testing.assert_array_equal(w, np.abs(v))
    assert capfd.readouterr() == ("", "")


@needs_runtime
def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "no.tflite").write_bytes(b"not a flatbuffer at all")
    with pytest.raises(GraphoptError, match=r"LiteRT does not accept .*no\.tflite: "):
        open_interpreter(tmp_path / "no.tflite", 1, ["x"], ["y"])


@needs_runtime
def test_other_names_than_those_of_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "one.tflite").write_bytes(write(tflite([("NEG", ["x"], ["y"])], {"x": (4,), "y": (4,)}, ["x"], ["y"])))
    with pytest.raises(GraphoptError, match=r"one\.tflite has no tensor 'image'; it has x, y"):
        open_interpreter(tmp_path / "one.tflite", 1, ["image"], ["y"])
