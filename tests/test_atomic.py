"""Files that are written whole or not at all."""

import errno
import json
import os
from pathlib import Path

import pytest

from graphopt.atomic import replacing, write_json
from graphopt.errors import GraphoptError


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "found.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    with pytest.raises(GraphoptError, match=r"found\.json cannot be written: No such file"), replacing(path):
        pass  # nothing was written
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_written_takes_the_place_of_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(b"old")
    with replacing(path) as temporary:
        assert temporary.parent == tmp_path  # the same disk
        assert temporary.suffix == ".safetensors"
        temporary.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("when", ["write", "fsync"])
def test_a_full_disk_is_one_clear_line_and_the_old_file_stays(
    when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_bytes(b"new")
            if when == "write":
                full()

    path = tmp_path / "found.json"
    write_json(path, {"a": 1})
    if when == "fsync":
        monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(GraphoptError, match=r"found\.json cannot be written: the disk is full; make room"):
        write()
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"gone/a\.json cannot be written: No such file or directory"):
        write_json(tmp_path / "gone" / "a.json", {})
