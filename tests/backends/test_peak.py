"""The memory of a network that takes a known amount, in a process of its own."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from graphopt.backends.base import Artefact
from graphopt.backends.host import HostTarget
from graphopt.backends.peak import peak_bytes
from graphopt.errors import GraphoptError

PLUG_IN = """
import numpy as np
from graphopt.backends.host import HostBackend, HostTarget

class HungryBackend(HostBackend):
    kind = "hungry"
    target_type = HostTarget

    def key(self):
        return ""

    def build(self, model, folder, say=None):
        raise NotImplementedError

    def load(self, artefact):
        megabytes = int(artefact.files[0].read_text())
        if megabytes == 0:
            raise ValueError("no weights in the file")
        weights = np.ones((megabytes, 2**20), np.uint8)
        scratch = np.ones(2**26, np.uint8)  # while it loads
        del scratch
        return lambda inputs: [np.ones(2**24, np.uint8), weights[:1]]

    def check(self, tracker=None, key=None):
        return []
"""


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> HostTarget:
    """Of a runtime that is installed for the process that is started."""
    (tmp_path / "hungry.py").write_text(PLUG_IN)
    metadata = tmp_path / "hungry-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hungry\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[graphopt.backends]\nhungry = hungry:HungryBackend\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return HostTarget(name="here", title="Here", kind="hungry", device="cpu", precision="fp32")


def artefact(folder: Path, megabytes: int) -> Artefact:
    path = folder / "network.txt"
    path.write_text(str(megabytes))
    return Artefact((path,), {"inputs": []})


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not say what is resident")
def test_weights_images_and_what_is_set_aside(target: HostTarget, tmp_path: Path) -> None:
    """40 MiB of weights, 8 of an image, 16 of a result."""
    image = np.zeros((1, 2, 1024, 1024), np.float32)
    found = peak_bytes(target, artefact(tmp_path, 40), [image])
    assert found == pytest.approx((40 + 8 + 16) * 2**20, abs=2**20)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="this system does not say what is resident")
def test_a_process_that_ends_early_says_why(target: HostTarget, tmp_path: Path) -> None:
    message = "^target here: its memory cannot be measured: ValueError: no weights in the file$"
    with pytest.raises(GraphoptError, match=message):
        peak_bytes(target, artefact(tmp_path, 0), [])


def test_where_the_system_says_nothing(target: HostTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphopt.backends.peak._CLEAR", tmp_path / "gone")
    assert peak_bytes(target, artefact(tmp_path, 40), []) is None
