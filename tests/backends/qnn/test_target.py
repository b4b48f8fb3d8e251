"""Mistakes in the file of an NPU target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from graphopt.backends.targets import load_target
from graphopt.errors import GraphoptError

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["npu_model"]["per_gmac"].pop("source"), r"'npu_model\.per_gmac\.source' is missing"),
        (lambda c: c["npu_model"]["launch"].update(unit="us"), "'launch' is given in 'us', expected 'ms'"),
        (lambda c: c["npu_model"]["spread"].update(value=0.9), "at least 1"),
        (lambda c: c["npu_model"]["supertile_exponent"].update(value=1.5), "above 0 and at most 1"),
        (lambda c: c["npu_model"]["per_supertile"].update(value=-1), "greater than or equal to 0"),
        (lambda c: c.pop("npu_compiler"), "a qnn target, and no other, has 'npu_compiler'"),
        (lambda c: c.update(device="mali"), "'device' hexagon"),
        (lambda c: c.update(kind="opencl"), "an opencl target has 'kernel_model'"),
        (lambda c: c.update(kernel_model={}), "a qnn target has no 'kernel_model'"),
        (
            lambda c: c.update(precision="fp32"),
            "key 'precision': fp32: a target of kind 'qnn' has fp16, w8a8 and w8a16$",
        ),
    ],
)
def test_mistakes_in_the_yaml_are_named(tmp_path: Path, change: Any, message: str) -> None:
    content = yaml.safe_load((ROOT / "targets" / "sm8650-hexagon.yaml").read_text())
    change(content)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(GraphoptError, match=message):
        load_target(str(path))
