"""What makes a stage run again."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from graphopt.run.stage import _code_digest

BASE = """
from dataclasses import dataclass
from typing import ClassVar
from graphopt import Contract, Pass

@dataclass(frozen=True)
class Base(Pass):
    name: ClassVar[str] = "base"
    contract: ClassVar[Contract] = Contract.EXACT

    def sites(self, graph):
        return []

    def rewrite(self, site, build):
        return build.input("x")
"""


def module(path: Path, source: str) -> ModuleType:
    path.write_text(source)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_a_pass_is_another_when_a_file_of_its_bases_or_its_own_is_edited(tmp_path: Path) -> None:
    base = module(tmp_path / "base_of_passes.py", BASE)
    source = "def sites(self, graph):\n    return iter(())\n"
    own = module(tmp_path / "own.py", source)
    kind = type("Own", (base.Base,), {"sites": own.sites, "name": "own"})
    first = _code_digest(kind())
    assert first == _code_digest(kind())
    (tmp_path / "own.py").write_text(source + "# edited")
    second = _code_digest(kind())
    (tmp_path / "base_of_passes.py").write_text(BASE + "# edited")
    third = _code_digest(kind())
    assert len({str(first), str(second), str(third)}) == 3
