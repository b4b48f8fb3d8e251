"""clipped-norm: a line for each channel, and its clamp."""

from __future__ import annotations

import numpy as np
import onnx_graphsurgeon as gs
import pytest
from graphopt.passes.clipped_norm import ClippedNorm
from graphs import difference, kinds, refused, rewritten, run, site_names
from norms import READ_INSIDE, SCENES, by_channel, norm, over_space, read_inside, spellings


@spellings
def test_a_clamped_line(spelling: str) -> None:
    graph = norm(spelling)
    assert site_names(graph, ClippedNorm()) == ["block.0/norm1"]
    chosen = rewritten(graph, ClippedNorm(tail=0.05), SCENES)
    assert kinds(chosen) == ["Mul", "Add", "Max", "Min"]
    outputs = [run(graph, image) for image in SCENES]
    low, high = np.quantile(by_channel(outputs), [0.05, 0.95], axis=0)
    x, y = by_channel(SCENES).astype(np.float64), by_channel(outputs)
    lines = [np.polyfit(x[:, c], y[:, c], 1) for c in range(4)]
    expected = [np.clip(a * SCENES[0][0, c] + b, low[c], high[c]) for c, (a, b) in enumerate(lines)]
    assert difference(run(chosen, SCENES[0]), np.stack(expected)[None]) < 2e-5
    # the bounds act, and differ between channels
    assert len({float(value) for value in low}) == 4
    far = run(chosen, 100 * SCENES[0])
    np.testing.assert_allclose(far.min(axis=(0, 2, 3)), low, rtol=1e-5)
    np.testing.assert_allclose(far.max(axis=(0, 2, 3)), high, rtol=1e-5)
    fixed = [tensor.name for node in chosen.nodes[2:] for tensor in node.inputs if isinstance(tensor, gs.Constant)]
    assert len(fixed) == 2
    assert all(name.endswith("_fixed") for name in fixed)  # never trained


def test_norms_that_stay() -> None:
    assert set(refused(read_inside(), ClippedNorm())) == READ_INSIDE
    assert site_names(over_space(), ClippedNorm()) == []


@pytest.mark.parametrize("tail", [-0.1, 0.5])
def test_tails_that_are_none(tail: float) -> None:
    with pytest.raises(ValueError, match=f"option 'tail' is {tail}; expected a number from 0 to below 0.5"):
        ClippedNorm(tail=tail)
