"""Patches in HDF5."""

from __future__ import annotations

import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
from photographs import photographs, picture

from graphopt.errors import GraphoptError
from graphopt.train.data import Gaussian, pairs_of, to_planes  # fmt: skip


def h5(path: Path, **datasets: np.ndarray) -> str:
    with h5py.File(path, "w") as file:
        for name, content in datasets.items():
            file.create_dataset(name, data=content)
    return str(path)


def test_patches_in_hdf5(tmp_path: Path) -> None:
    clean = np.stack([picture(16, 16, i) for i in range(4)])
    found = photographs(h5=h5(tmp_path / "a.h5", clean=clean, noisy=255 - clean))
    assert [photograph.name for photograph in found] == ["a 0", "a 1", "a 2", "a 3"]
    np.testing.assert_array_equal(found[2].read()[0], clean[2])
    np.testing.assert_array_equal(found[2].read()[1], 255 - clean[2])
    again = pickle.loads(pickle.dumps(found[3]))  # as a loader of another process gets it
    np.testing.assert_array_equal(again.read()[0], clean[3])
    first = (clean / 255).astype(np.float64).transpose(0, 3, 1, 2)
    (alone, *_) = photographs(h5=h5(tmp_path / "b.h5", clean=first))
    assert alone.read()[1] is None
    np.testing.assert_allclose(to_planes(alone.read()[0]), first[0], atol=1e-7)
    noisy, original = next(pairs_of([alone], Gaussian(25, 25)))
    assert ((noisy - original) * 255).std() == pytest.approx(25, rel=0.1)


def test_mistakes_in_hdf5(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"H5 file .*gone\.h5 does not exist"):
        photographs(h5=str(tmp_path / "gone.h5"))
    (tmp_path / "text.h5").write_text("no data")
    with pytest.raises(GraphoptError, match=r"text\.h5 cannot be read"):
        photographs(h5=str(tmp_path / "text.h5"))
    some = np.zeros((2, 8, 8, 3), np.uint8)
    with pytest.raises(GraphoptError, match=r"has no dataset 'clean'; it holds gt, lq; expected 'clean' and, for pa"):
        photographs(h5=h5(tmp_path / "a.h5", gt=some, lq=some))
    with pytest.raises(
        GraphoptError, match=r"dataset 'clean': expected uint8 .*, found uint8 of the shape \(8, 8, 3\)"
    ):
        photographs(h5=h5(tmp_path / "b.h5", clean=some[0]))
    with pytest.raises(GraphoptError, match=r"dataset 'noisy': .* found int16"):
        photographs(h5=h5(tmp_path / "c.h5", clean=some, noisy=some.astype(np.int16)))
    with pytest.raises(GraphoptError, match=r"differ in shape: \(1, 8, 8, 3\) and \(2, 8, 8, 3\)"):
        photographs(h5=h5(tmp_path / "d.h5", clean=some, noisy=some[:1]))
