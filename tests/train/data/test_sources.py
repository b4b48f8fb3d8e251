"""What `data` names: pairs, SIDD, HDF5, and one message for each mistake in them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnx
import pytest
import yaml
from graphs import Call
from PIL import Image
from scipy.io import savemat

from graphopt.config.data import DataConfig, JudgeConfig, TrainData
from graphopt.config.reading import read_config, validate
from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError
from graphopt.train.data import (
    Gaussian,
    PatchSampler,
    Photograph,
    calibration,
    open_photographs,
    pairs_of,
    photographs_digest,
    to_planes,
)  # fmt: skip
from graphopt.train.data.photographs import Shelf
from graphopt.train.metrics import View, psnr


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def source(**keys: Any) -> TrainData:
    return validate({"train": [keys]}, TrainData, Path("config.yaml").resolve())


def photographs(judged: bool = False, **keys: Any) -> list[Photograph]:
    return open_photographs(source(**keys).train, judged)


@pytest.fixture
def pairs(tmp_path: Path) -> dict[str, str]:
    for i in range(3):
        save(tmp_path / "noisy" / f"{i}.png", picture(20, 30, i))
        save(tmp_path / "clean" / f"{i}.bmp", picture(20, 30, 10 + i))
    return {"noisy": str(tmp_path / "noisy"), "clean": str(tmp_path / "clean")}


def test_paired_folders(pairs: dict[str, str]) -> None:
    found = photographs(**pairs)
    assert [photograph.name for photograph in found] == ["0.png", "1.png", "2.png"]
    for i, (noisy, clean) in enumerate(pairs_of(found, Gaussian(50, 50))):  # the noise is for clean images alone
        np.testing.assert_array_equal(noisy, to_planes(picture(20, 30, i)))
        np.testing.assert_array_equal(clean, to_planes(picture(20, 30, 10 + i)))


def test_patches_of_a_pair_are_cut_turned_and_mirrored_alike(pairs: dict[str, str]) -> None:
    rows, columns = (axis.astype(np.uint8) for axis in np.mgrid[:20, :30])
    for i in range(3):
        where = np.stack([rows, columns, rows], -1)
        save(Path(pairs["clean"]) / f"{i}.bmp", where)
        save(Path(pairs["noisy"]) / f"{i}.png", where + 100)
    sampler = PatchSampler.of_data(source(**pairs), 0)
    assert sampler.varied  # which is for clean images alone
    noisy, clean = sampler.batch(40, 8)
    np.testing.assert_allclose(noisy - clean, 100 / 255, atol=1e-6)
    assert len({patch.tobytes() for patch in clean}) > 30
    enlarged = sampler.batch(2, 40)
    np.testing.assert_allclose(enlarged[0] - enlarged[1], 100 / 255, atol=1e-6)


def test_pairs_and_clean_photographs_side_by_side(pairs: dict[str, str], tmp_path: Path) -> None:
    save(tmp_path / "more" / "a.png", np.full((20, 30, 3), 128, np.uint8))
    data = TrainData(train=[tmp_path / "more", *source(**pairs).train], sigma=10, vary=False)
    noisy, clean = PatchSampler.of_data(data, 0).batch(60, 8)
    flat = clean.std((1, 2, 3)) == 0
    assert 5 < flat.sum() < 55
    assert ((noisy - clean)[flat] * 255).std() == pytest.approx(10, rel=0.05)
    assert ((noisy - clean)[~flat] * 255).std() > 80


def test_images_without_a_partner(pairs: dict[str, str]) -> None:
    save(Path(pairs["noisy"]) / "extra.png", picture(4, 4))
    with pytest.raises(GraphoptError, match=r"image .*extra\.png has no clean partner: .*clean holds no image named"):
        photographs(**pairs)
    (Path(pairs["noisy"]) / "extra.png").unlink()
    (Path(pairs["noisy"]) / "1.png").unlink()
    with pytest.raises(GraphoptError, match=r"image .*1\.bmp has no noisy partner"):
        photographs(**pairs)


def test_partners_of_another_size(pairs: dict[str, str]) -> None:
    save(Path(pairs["noisy"]) / "2.png", picture(21, 30))
    with pytest.raises(GraphoptError, match=r"2\.png: the noisy image has another size .*\(21x30 beside 20x30\)"):
        list(pairs_of(photographs(**pairs), Gaussian(0, 0)))


@pytest.fixture
def sidd(tmp_path: Path) -> Path:
    for i, scene in enumerate(("0001_001_S6", "0002_001_S6")):
        for kind, seed in (("NOISY", 0), ("GT", 50)):
            save(tmp_path / "SIDD" / scene / f"000{i}_{kind}_SRGB_010.PNG", picture(12, 14, seed + i))
    return tmp_path / "SIDD"


def blocks(folder: Path, shape: tuple[int, ...] = (2, 3, 16, 16, 3), **changes: Any) -> None:
    for seed, name in enumerate(("ValidationNoisyBlocksSrgb", "ValidationGtBlocksSrgb")):
        content = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
        savemat(folder / f"{name}.mat", {name: changes.get(name, content)})


def test_scenes_of_sidd(sidd: Path) -> None:
    found = photographs(sidd=str(sidd))
    assert [photograph.name for photograph in found] == ["0000_NOISY_SRGB_010.PNG", "0001_NOISY_SRGB_010.PNG"]
    clean, noisy = found[1].read()
    np.testing.assert_array_equal(clean, picture(12, 14, 51))
    np.testing.assert_array_equal(noisy, picture(12, 14, 1))
    (sidd / "0002_001_S6" / "0001_GT_SRGB_010.PNG").unlink()
    with pytest.raises(GraphoptError, match=r"0001_NOISY_SRGB_010\.PNG has no clean partner: 0001_GT_SRGB_010\.PNG"):
        photographs(sidd=str(sidd))


def test_validation_blocks_of_sidd(sidd: Path, tmp_path: Path) -> None:
    blocks(sidd)
    found = photographs(judged=True, sidd=str(sidd))
    assert [found[0].name, found[-1].name, len(found)] == ["image 00 block 00", "image 01 block 02", 6]
    clean, noisy = found[4].read()
    np.testing.assert_array_equal(noisy, np.random.default_rng(0).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)[1, 1])
    np.testing.assert_array_equal(clean, np.random.default_rng(1).integers(0, 256, (2, 3, 16, 16, 3), np.uint8)[1, 1])
    assert len(photographs(sidd=str(sidd))) == 2, "scenes are to train on"
    (tmp_path / "blocks").mkdir()
    blocks(tmp_path / "blocks")
    assert len(photographs(sidd=str(tmp_path / "blocks"))) == 6


def test_mistakes_in_sidd(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"SIDD folder .*gone does not exist"):
        photographs(sidd=str(tmp_path / "gone"))
    with pytest.raises(GraphoptError, match=r"holds neither <scene>/\*_NOISY_SRGB_\*\.PNG .* nor ValidationNoisyB"):
        photographs(sidd=str(tmp_path))
    blocks(tmp_path, (6, 16, 16, 3))
    with pytest.raises(
        GraphoptError, match=r"expected the variable .*, uint8 \(40, .*found uint8 of shape \(6, 16, 16"
    ):
        photographs(sidd=str(tmp_path))
    blocks(tmp_path, ValidationNoisyBlocksSrgb=np.zeros((2, 2, 16, 16, 3), np.uint8))
    with pytest.raises(GraphoptError, match=r"differ in shape: \(2, 2, 16, 16, 3\) and \(2, 3, 16, 16, 3\)"):
        photographs(sidd=str(tmp_path))
    savemat(tmp_path / "ValidationNoisyBlocksSrgb.mat", {"other": 1})
    with pytest.raises(GraphoptError, match="found no such variable"):
        photographs(sidd=str(tmp_path))
    (tmp_path / "ValidationNoisyBlocksSrgb.mat").write_text("no matlab")
    with pytest.raises(GraphoptError, match=r"ValidationNoisyBlocksSrgb\.mat cannot be read"):
        photographs(sidd=str(tmp_path))
    (tmp_path / "ValidationNoisyBlocksSrgb.mat").unlink()
    with pytest.raises(GraphoptError, match=r"ValidationNoisyBlocksSrgb\.mat does not exist; it belongs beside"):
        photographs(sidd=str(tmp_path))


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


def test_a_shelf_keeps_what_fits() -> None:
    reads: list[int] = []

    def photograph(key: int) -> Photograph:
        return Photograph("", (), lambda: (reads.append(key), (picture(4, 4, key), None))[1])

    shelf = Shelf(budget=2 * 4 * 4 * 3)
    for key in (0, 1, 2, 0, 1, 2):
        np.testing.assert_array_equal(shelf.read(key, photograph(key))[0], picture(4, 4, key))
    assert reads == [0, 1, 2, 2]


def test_digest_and_calibration(pairs: dict[str, str]) -> None:
    found = photographs(**pairs)
    before = photographs_digest(found)
    assert photographs_digest(photographs(**pairs)) == before
    middle = calibration(found, 2, (8, 10), Gaussian(25, 25))
    assert [image.shape for image in middle] == [(1, 3, 8, 10)] * 2
    np.testing.assert_array_equal(middle[1][0], to_planes(picture(20, 30, 1))[:, 6:14, 10:20])
    save(Path(pairs["clean"]) / "1.bmp", picture(20, 30, 77))
    assert photographs_digest(photographs(**pairs)) != before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"train": [{"noisy": "a"}]}, "key 'train.0.pairs.clean' is missing"),
        ({"train": [{"sidd": "a", "h6": 1}]}, "unknown key 'train.0.sidd.h6'"),
        ({"train": [3]}, "key 'train.0.folder': "),
        ({"train": ["a"], "sigma": [50, 0]}, "'sigma' is a range [low, high]; expected low <= high, found [50, 0]"),
        ({"train": ["a"], "sigma": [1, 2, 3]}, "key 'sigma': expected a number or a range [low, high]"),
        ({"train": ["a"], "sigma": [-1, 2]}, "Input should be greater than or equal to 0, found -1"),
        ({"train": ["a"], "noise": "poisson"}, "key 'noise': expected gaussian, raw, bayer, or {shot: [low, high]"),
        ({"train": ["a"], "noise": {"shot": [0.1, 0.01]}}, "'shot' is a range [low, high]; expected low <= high"),
        ({"train": ["a"], "noise": {"shot": [0, 0.01]}}, "Input should be greater than 0, found 0"),
        ({"train": ["a"], "noise": "raw", "sigma": 25}, "give either 'sigma' or 'noise: raw'"),
    ],
)
def test_mistakes_in_data(content: dict[str, Any], expected: str) -> None:
    with pytest.raises(GraphoptError) as caught:
        validate(content, TrainData, Path("c.yaml"))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_same_keys_everywhere(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(
        "model: x\ndata:\n  train: [a, {sidd: s}, {h5: p.h5}, {noisy: n, clean: /c}]\n  test: [{sidd: s}]\n"
        "  noise: {shot: [1e-3, 1e-2], read: [1e-6, 1e-5]}\n"
    )
    judged = read_config(tmp_path / "c.yaml", JudgeConfig).data

    assert judged.test[0].sidd == tmp_path / "s"  # type: ignore[union-attr]
    keys = {"train": ["a", {"h5": "p.h5"}], "sigma": [0, 50], "mixup": 1.2}
    trained = validate({"data": keys, "output": "w", "steps": 1}, PretrainConfig, tmp_path / "c.yaml").source
    run = validate({**keys, "test": ["b"]}, DataConfig, tmp_path / "c.yaml")
    assert trained.train == run.train == [tmp_path / "a", trained.train[1]]
    assert (trained.sigma, trained.mixup, trained.vary) == (run.sigma, run.mixup, run.vary) == ((0, 50), 1.2, True)
    short = validate({"images": ["a"], "sigma": 15, "output": "w", "steps": 1}, PretrainConfig, tmp_path / "c.yaml")
    assert short.source == TrainData(train=[tmp_path / "a"], sigma=15, vary=False)
    for both in ({"images": ["a"], "data": keys}, {}):
        with pytest.raises(GraphoptError, match="give either 'images' or 'data: {train:"):
            validate({**both, "output": "w", "steps": 1}, PretrainConfig, tmp_path / "c.yaml")
    with pytest.raises(GraphoptError, match="'sigma' belongs into 'data' beside 'train'"):
        validate({"data": keys, "sigma": 3, "output": "w", "steps": 1}, PretrainConfig, tmp_path / "c.yaml")


def test_evaluate_reads_the_data_of_a_yaml_file(call: Call, pairs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: other\ndata: {train: [gone], test: [{noisy: noisy, clean: clean}]}\n")
    save_network(tmp_path / "identity.onnx")
    arguments = ("--model", tmp_path / "identity.onnx", "--data", tmp_path / "run.yaml", "--channel", "y", "--json")
    status, out, err = call("evaluate", *arguments)
    assert (status, err) == (0, "")
    found = json.loads(out)
    planes = [(to_planes(picture(20, 30, i)), to_planes(picture(20, 30, 10 + i))) for i in range(3)]
    assert found["psnr"] == pytest.approx(np.mean([psnr(*pair, View("y")) for pair in planes]), abs=1e-4)
    assert found["channel"] == "y"


def save_network(path: Path) -> None:
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[1,3,32,32] x) => (float[1,3,32,32] y) {y = Identity(x)}'
        ),
        path,
    )


def test_the_example_of_the_documentation_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "training.md").read_text()
    (tmp_path / "c.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    found = validate(yaml.safe_load((tmp_path / "c.yaml").read_text())["data"], DataConfig, tmp_path / "c.yaml")
    assert [type(source).__name__ for source in found.train[1:]] == ["PairFolders", "SiddFolder", "H5File"]
    assert found.sigma == (0, 50)
