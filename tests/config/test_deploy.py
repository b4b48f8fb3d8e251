"""`deploy`: what may be asked of sizes, and what has no effect is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from configs import PIPELINE, message, read


def test_defaults(tmp_path: Path) -> None:
    found = read(tmp_path, PIPELINE).deploy
    assert (found.resolution, found.tile, found.overlap) == (None, 256, 16)
    assert read(tmp_path, {**PIPELINE, "deploy": {"resolution": [480, 640]}}).deploy.resolution == (480, 640)
    assert read(tmp_path, {**PIPELINE, "deploy": {"resolution": "free", "tile": 128}}).deploy.tile == 128


@pytest.mark.parametrize(
    ("deploy", "expected"),
    [
        ({"resolution": "any"}, "key 'deploy.resolution': expected [height, width] or free, found 'any'"),
        ({"resolution": 256}, "key 'deploy.resolution': expected [height, width] or free, found 256"),
        ({"tile": 128}, "key 'deploy': 'tile' is for 'resolution: free'"),
        ({"resolution": [64, 32], "overlap": 20}, "key 'deploy': 'overlap' is 20; expected at most half a tile, 16"),
        ({"resolution": "free", "tile": 64, "overlap": 40}, "'overlap' is 40; expected at most half a tile, 32"),
        ({"resolution": "free", "tlie": 64}, "unknown key 'deploy.tlie'; did you mean 'tile'?"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, deploy: dict[str, Any], expected: str) -> None:
    assert expected in message(tmp_path, {**PIPELINE, "deploy": deploy})
