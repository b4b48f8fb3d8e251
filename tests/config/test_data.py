"""What `data` may name, the same in every configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from graphopt.config.data import DataConfig, JudgeConfig, TrainData
from graphopt.config.reading import read_config, validate
from graphopt.config.training import PretrainConfig
from graphopt.errors import GraphoptError


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


def test_the_example_of_the_documentation_is_valid(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    (tmp_path / "c.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    found = validate(yaml.safe_load((tmp_path / "c.yaml").read_text())["data"], DataConfig, tmp_path / "c.yaml")
    assert [type(source).__name__ for source in found.train[1:]] == ["PairFolders", "SiddFolder", "H5File"]
    assert found.sigma == (0, 50)
