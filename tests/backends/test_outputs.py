"""What artefacts have computed is computed once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphopt.backends import outputs
from graphopt.backends.outputs import kept_outputs
from graphopt.cost.cache import CostCache


def test_files_inputs_and_version_decide(tmp_path: Path) -> None:
    file, cache, calls = tmp_path / "a.bin", CostCache(tmp_path / "cache"), []
    file.write_bytes(b"one")

    def ask(value: float, version: str = "1") -> float:
        def compute() -> list[np.ndarray]:
            calls.append(value)
            return [np.full(2, value), np.full(3, -value)]

        made = kept_outputs(cache, version, [file], [np.full(2, value, np.float32)], compute)
        assert [array.shape for array in made] == [(2,), (3,)]
        return float(made[1][0])

    assert (ask(1), ask(1), ask(2), ask(1)) == (-1, -1, -2, -1)
    assert calls == [1, 2]
    ask(1, "2")
    file.write_bytes(b"two")
    ask(1)
    assert calls == [1, 2, 1, 1]


def test_only_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "KEPT", 2)
    cache = CostCache(tmp_path)
    for value in range(4):
        kept_outputs(cache, "1", [], [np.array(value)], lambda: [np.zeros(1)])
    assert len(list((tmp_path / "outputs").iterdir())) == 2
