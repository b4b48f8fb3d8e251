"""The public API: what authors of passes import from `graphopt` and `graphopt.idioms`, and who imports whom."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import graphopt
import graphopt.idioms

ROOT = Path(__file__).parents[1]
ROOM = {"graphopt.errors", "graphopt.atomic", "graphopt.progress"}  # of the root, open to all
MAY_IMPORT = {  # modules, and packages with all that is in them
    "passes": ({"graphopt", "graphopt.idioms"}, ()),
    "graphopt/ir": (ROOM, ("graphopt.ir.",)),
    "graphopt/idioms": (ROOM, ("graphopt.ir.", "graphopt.idioms.")),
}


def imported(file: Path) -> set[str]:
    """The modules of graphopt that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: a relative import"
            found.add(node.module or "")
    return {name for name in found if name.split(".")[0] == "graphopt"}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_who_may_import_whom(folder: str) -> None:
    files = sorted((ROOT / folder).glob("*.py"))
    assert len(files) > 5
    modules, packages = MAY_IMPORT[folder]
    for file in files:
        strangers = {name for name in imported(file) - modules if not name.startswith(packages)}
        assert not strangers, f"{file.relative_to(ROOT)} imports {', '.join(sorted(strangers))}"


def test_nothing_imports_a_pass_by_name() -> None:
    for file in (ROOT / "graphopt").rglob("*.py"):
        assert not {name for name in imported(file) if name.startswith("graphopt.passes")}, file


@pytest.mark.parametrize("module", [graphopt, graphopt.idioms], ids=lambda module: module.__name__)
def test_every_public_name_is_there_and_explained(module: object) -> None:
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        module.no_such_name  # noqa: B018


def test_names_that_come_when_asked_are_the_ones_that_types_are_checked_with() -> None:
    tree = ast.parse((ROOT / "graphopt" / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {alias.name: node.module for node in block.body for alias in node.names}
    assert typed == graphopt._WHEN_ASKED
    assert set(typed) < set(graphopt.__all__)


def test_importing_graphopt_and_its_idioms_is_light() -> None:
    heavy = ("onnx", "onnxruntime", "onnx_graphsurgeon", "torch", "tvm", "scipy", "pydantic", "networkx")
    code = f"import sys, graphopt, graphopt.idioms; print(*[name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
