"""Images: read upright and as RGB, written, and found in folders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from photographs import picture
from PIL import Image

from graphopt.errors import GraphoptError
from graphopt.train.data import list_images, read_image, to_planes, write_image


def test_images_go_out_and_come_back(tmp_path: Path) -> None:
    pixels = picture(5, 7)
    planes = to_planes(pixels)
    assert planes.shape == (3, 5, 7)
    assert planes.dtype == np.float32
    assert planes[1, 2, 3] == np.float32(pixels[2, 3, 1]) / np.float32(255)
    write_image(tmp_path / "new" / "a.png", planes)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), pixels)


def test_values_outside_the_range_are_clipped(tmp_path: Path) -> None:
    image = np.full((3, 2, 2), 0.5, np.float32)
    image[0], image[1] = -0.2, 1.7
    write_image(tmp_path / "a.png", image)
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [0, 255, 128]


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "CMYK"])
def test_every_kind_of_image_becomes_rgb(mode: str, tmp_path: Path) -> None:
    Image.fromarray(picture(4, 6)).convert(mode).save(tmp_path / "a.tiff")
    found = read_image(tmp_path / "a.tiff")
    assert found.shape == (4, 6, 3)
    assert found.dtype == np.uint8


def test_a_photograph_held_sideways_is_turned_upright(tmp_path: Path) -> None:
    image = Image.fromarray(picture(4, 6))
    notes = Image.Exif()
    notes[0x0112] = 6  # orientation: turn clockwise to see it upright
    image.save(tmp_path / "a.png", exif=notes)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(picture(4, 6), -1))


def test_missing_and_broken_images(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"image .*gone\.png does not exist"):
        read_image(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(GraphoptError, match=r"text\.png cannot be read"):
        read_image(tmp_path / "text.png")
    write_image(tmp_path / "whole.png", to_planes(picture(40, 40)))
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(GraphoptError, match=r"half\.png cannot be read"):
        read_image(tmp_path / "half.png")
    with pytest.raises(GraphoptError, match="cannot be read"):
        read_image(tmp_path)


def test_an_image_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GraphoptError, match=r"image .*a\.png cannot be written"):
        write_image(tmp_path / "file" / "a.png", np.zeros((3, 2, 2), np.float32))


def test_folders(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/1.jpg", "a/3.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(2, 2)).save(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("")
    found = list_images([tmp_path / "b", tmp_path / "a"])
    assert [str(path.relative_to(tmp_path)) for path in found] == ["b/1.jpg", "b/2.PNG", "a/3.png"]


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="image folder .*gone does not exist"):
        list_images([tmp_path / "gone"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").touch()
    with pytest.raises(GraphoptError, match="image folder .*empty holds no images"):
        list_images([tmp_path / "empty"])
