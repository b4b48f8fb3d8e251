"""Who may import whom, how long a file may be, and what only backends ask: docs/architecture.md, enforced."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import networkx as nx
import pytest
from imports import Import, imports_of, is_standard, module_name

ROOT = Path(__file__).parents[1]

# The packages of graphopt/ and what each may import besides itself: those alone that stand before it.
MAY_IMPORT: dict[str, set[str]] = {
    "config": set(),
    "ir": set(),
    "idioms": {"ir"},
    "nn": {"ir", "idioms"},
    "authoring": {"ir", "idioms", "nn"},
    "cost": {"ir", "config"},
    "quantise": {"ir", "cost"},
    "kernels": {"ir", "config", "cost"},
    "tuning": {"ir", "config", "cost", "kernels"},
    "backends": {"ir", "config", "nn", "cost", "quantise", "kernels", "tuning"},
    "models": {"ir", "config", "nn", "cost", "backends"},
    "train": {"ir", "config", "nn", "quantise", "models"},
    "bundle": {"ir", "config", "cost", "backends", "train"},
    "search": {"ir", "config", "nn", "cost", "train"},
    "report": {"ir", "cost", "models"},
    "run": {
        "ir", "config", "idioms", "nn", "cost", "quantise", "kernels", "tuning", "backends", "models", "train",
        "bundle", "search", "report",
    },
    "devices": {"cost", "tuning", "backends", "bundle"},
    "cli": {
        "ir", "config", "idioms", "nn", "authoring", "cost", "quantise", "kernels", "tuning", "backends", "models",
        "train", "bundle", "search", "report", "run", "devices",
    },
}  # fmt: skip
AT_THE_ROOT = {"__init__", "__main__", "atomic", "errors", "progress"}  # files of graphopt/ itself
FOR_ALL = {"atomic", "errors", "progress"}  # any package may import these; `config` imports errors alone
ONLY_IN = {  # libraries, and the packages that may import them
    "tvm": {"kernels", "tuning", "backends"},
    "tvm_ffi": {"kernels", "tuning", "backends"},
    "onnxruntime_qnn": {"backends"},
    "ai_edge_litert": {"backends"},
    "MNN": {"backends"},
    "_tools": {"backends"},
    "ai_edge_quantizer": {"backends"},
    "litert_torch": {"backends"},
}
FORMATS = {"mnn"}  # names of backends that are formats of files as well, which devices are asked by
FOR_PASSES = {"numpy", "onnx"}  # besides the standard library, `graphopt` and `graphopt.idioms`
LONGEST = {"graphopt": 300, "passes": 300, "tests": 400}  # lines of a file


class Fault(NamedTuple):
    """What breaks a rule; `file` is a folder where a whole package does."""

    file: str
    rule: str
    words: str


@cache
def sources() -> dict[str, str]:
    found = [path for part in ("graphopt", "passes", "targets", "tests", "benchmarks", "examples")
             for path in sorted((ROOT / part).rglob("*.py"))]  # fmt: skip
    return {path.relative_to(ROOT).as_posix(): path.read_text() for path in found}


@cache
def modules() -> frozenset[str]:
    return frozenset(module_name(file) for file in sources() if file.startswith(("graphopt/", "passes/", "targets/")))


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for file, source in sources().items() for found in imports_of(file, source, modules()))


def package_of(name: str) -> str:
    """`graphopt.ir.sites` -> `ir`; the root itself is "", and so is whatever is not ours."""
    first, _, rest = name.partition(".")
    return rest.partition(".")[0] if first == "graphopt" else ""


def inside(file: str) -> str:
    """`graphopt/ir/sites.py` -> `ir`; "" for files that lie in no package of graphopt/."""
    parts = Path(file).parts
    return parts[1] if parts[0] == "graphopt" and len(parts) > 2 else ""


def said(found: Import) -> str:
    return f"{found.file}:{found.line} imports {found.name}"


FOLDERS_OF_BACKENDS = tuple(
    f"graphopt.backends.{path.parent.name}" for path in (ROOT / "graphopt" / "backends").glob("*/__init__.py")
)


def direction(all_imports: Iterable[Import]) -> Iterator[Fault]:
    """A package imports those alone that it may; nobody but `python -m graphopt` imports the command line."""
    for found in all_imports:
        home, to = inside(found.file), package_of(found.name)
        if (
            to == "cli"
            and home != "cli"
            and found.file.startswith(("graphopt/", "passes/", "benchmarks/", "examples/"))
        ):
            if found.file != "graphopt/__main__.py":
                yield Fault(found.file, "direction", f"{said(found)}: nobody imports the command line")
        elif home and found.name == "graphopt":
            yield Fault(found.file, "direction", f"{said(found)}: the public names are for people outside")
        elif home and home != "backends" and found.name.startswith(FOLDERS_OF_BACKENDS):
            yield Fault(found.file, "direction", f"{said(found)}: ask the backend, whichever it is")
        elif home and to and to != home:
            allowed = MAY_IMPORT[home] | ({"errors"} if home == "config" else FOR_ALL)
            if to != "passes" and to not in allowed:
                may = ", ".join(sorted(allowed))
                yield Fault(found.file, "direction", f"{said(found)}: {home} may import {may}")


def passes_are_outside(all_imports: Iterable[Import]) -> Iterator[Fault]:
    """A built-in pass is written like a user's own, and nothing in graphopt/ knows one by name."""
    for found in all_imports:
        if found.file.startswith("passes/"):
            ours = found.name == "graphopt" or package_of(found.name) == "idioms"
            if not ours and not is_standard(found.name) and found.name.partition(".")[0] not in FOR_PASSES:
                yield Fault(found.file, "passes", f"{said(found)}: a pass imports graphopt and graphopt.idioms")
        elif found.file.startswith("graphopt/") and package_of(found.name) == "passes":
            yield Fault(found.file, "passes", f"{said(found)}: passes are found by name, path or entry point")


def libraries(all_imports: Iterable[Import]) -> Iterator[Fault]:
    for found in all_imports:
        allowed = ONLY_IN.get(found.name.partition(".")[0])
        if (
            allowed is not None
            and found.file.startswith(("graphopt/", "passes/"))
            and inside(found.file) not in allowed
        ):
            yield Fault(found.file, "libraries", f"{said(found)}: only {', '.join(sorted(allowed))} may")


def circles(all_imports: Iterable[Import]) -> Iterator[Fault]:
    """None between packages, however late an import is; none between modules when they are imported."""
    packages: nx.DiGraph[str] = nx.DiGraph()
    files: nx.DiGraph[str] = nx.DiGraph()
    for found in all_imports:
        home, to = inside(found.file), package_of(found.name)
        if home and to in MAY_IMPORT and home != to:
            packages.add_edge(f"graphopt/{home}", f"graphopt/{to}")
        if found.at_once and found.file.startswith(("graphopt/", "passes/")) and found.name in modules():
            files.add_edge(module_name(found.file), found.name)
    for graph in (packages, files):
        for circle in nx.strongly_connected_components(graph):
            if len(circle) > 1:
                for one in circle:
                    yield Fault(one, "circles", f"{', '.join(sorted(circle))} import each other")


def asks_for_a_backend(file: str, source: str, backends: Iterable[str]) -> Iterator[int]:
    """Lines that compare a kind with the name of a backend, or look something up by the kind of a target."""
    names = set(backends)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            texts = {part.value for side in sides for part in ast.walk(side) if isinstance(part, ast.Constant)}
            if any(_is_kind(side) for side in sides) and texts & names:
                yield node.lineno
        elif isinstance(node, ast.Match) and _is_kind(node.subject):
            texts = {part.value for case in node.cases for part in ast.walk(case) if isinstance(part, ast.Constant)}
            if texts & names:
                yield node.lineno
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if keys & (names - FORMATS):
                yield node.lineno


def _is_kind(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Attribute | ast.Name)
        and (getattr(node, "attr", None) or getattr(node, "id", "")) == "kind"
    )


def kinds() -> Iterator[Fault]:
    """Nothing outside backends/ asks which backend a target has."""
    names = {path.parent.name for path in (ROOT / "graphopt" / "backends").glob("*/__init__.py")}
    for file, source in sources().items():
        if file.startswith(("graphopt/", "benchmarks/")) and inside(file) != "backends":
            for line in asks_for_a_backend(file, source, names):
                yield Fault(file, "kinds", f"{file}:{line} compares a target's kind: ask its backend")


def lengths() -> Iterator[Fault]:
    for file, source in sources().items():
        lines, most = source.count("\n"), LONGEST.get(Path(file).parts[0])
        if most is not None and lines > most:
            yield Fault(file, "lengths", f"{file} has {lines} lines, {most} at most: part it by what it holds")


def rooms() -> Iterator[Fault]:
    """Every file lies in a package that has its place in the table."""
    for file in sources():
        parts = Path(file).parts
        if parts[0] == "graphopt" and (inside(file) or Path(file).stem) not in {*MAY_IMPORT, *AT_THE_ROOT}:
            yield Fault(file, "rooms", f"{file}: no room of docs/architecture.md")


def faults() -> list[Fault]:
    everywhere = imports()
    by_import = [check(everywhere) for check in (direction, passes_are_outside, libraries, circles)]
    return [fault for found in (*by_import, kinds(), lengths(), rooms()) for fault in found]


def test_the_rules_are_kept() -> None:
    broken = faults()
    assert not broken, "\n" + "\n".join(f"[{fault.rule}] {fault.words}" for fault in sorted(broken))


def test_the_table_itself_has_no_circle() -> None:
    below: set[str] = set()
    for home, others in MAY_IMPORT.items():
        assert others <= below, home
        below.add(home)


def test_the_page_says_the_same() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| `(\w+)/` \| [^|]+ \| ([^|]+) \|$", page, re.MULTILINE)
    told: dict[str, set[str]] = {}
    for home, cell in rows:
        named = set(re.findall(r"`(\w+)`", cell))
        told[home] = set(told) - named if cell.startswith("all above") else named
    assert told == MAY_IMPORT


def test_every_package_is_in_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = [".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "graphopt").rglob("__init__.py")]
    assert sorted(listed) == sorted([*found, "graphopt.passes", "graphopt.targets"])


# the rules can be broken


def read(file: str, source: str) -> list[Import]:
    return imports_of(file, source, modules())


LATE = "def f():\n    from graphopt.cli import app\n"
FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from graphopt.search.stage import SearchStage\n"
NAMED = 'from importlib import import_module\nimport_module("graphopt.backends.base")\n'


@pytest.mark.parametrize(
    ("file", "source", "rule", "line"),
    [
        ("graphopt/ir/new.py", "import graphopt.nn.module\n", "direction", 1),
        ("graphopt/search/new.py", "from graphopt.backends import base\n", "direction", 1),
        ("graphopt/train/new.py", FOR_TYPES, "direction", 3),
        ("graphopt/cost/new.py", NAMED, "direction", 2),
        ("graphopt/ir/new.py", "from ..nn import module\n", "direction", 1),
        ("graphopt/config/new.py", "from graphopt.progress import Progress\n", "direction", 1),
        ("graphopt/run/new.py", LATE, "direction", 2),
        ("benchmarks/new.py", LATE, "direction", 2),
        ("graphopt/ir/new.py", "from graphopt import GraphModule\n", "direction", 1),
        ("graphopt/run/new.py", "from graphopt.backends.opencl.backend import OpenClBackend\n", "direction", 1),
        ("graphopt/search/new.py", "import tvm.relax\n", "libraries", 1),
        ("graphopt/tuning/new.py", "def f():\n    import onnxruntime_qnn\n", "libraries", 2),
        ("passes/new.py", "from graphopt.ir.sites import Site\n", "passes", 1),
        ("passes/new.py", "import torch\n", "passes", 1),
        ("graphopt/run/new.py", "from graphopt.passes.affine_norm import AffineNorm\n", "passes", 1),
        ("graphopt/ir/new.py", 'NAME = "graphopt.passes.affine_norm"\n', "passes", 1),
    ],
)  # fmt: skip
def test_a_wrong_import_is_found(file: str, source: str, rule: str, line: int) -> None:
    wrong = read(file, source)
    found = [fault for check in (direction, passes_are_outside, libraries) for fault in check(wrong)]
    assert [(fault.file, fault.rule) for fault in found] == [(file, rule)]
    assert found[0].words.startswith(f"{file}:{line} imports ")


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("graphopt/nn/new.py", "from graphopt.ir import sites\nfrom graphopt.errors import GraphoptError\n"),
        ("graphopt/backends/new.py", "import onnxruntime_qnn\nimport tvm\nfrom graphopt.tuning import job\n"),
        (
            "passes/new.py",
            "from graphopt import Pass\nfrom graphopt.idioms import norms\nimport math, numpy, onnx.helper\n",
        ),
        ("graphopt/__main__.py", "from graphopt.cli import main\n"),
        ("tests/new.py", LATE + "import tvm\n"),
        ("graphopt/ir/new.py", 'GROUP = "graphopt.passes"\nTEXT = "see graphopt.nn for more"\n'),
    ],
)
def test_what_may_be_imported(file: str, source: str) -> None:
    found = read(file, source)
    assert [fault for check in (direction, passes_are_outside, libraries) for fault in check(found)] == []


def test_circles_are_found() -> None:
    first = read("graphopt/ir/sites.py", "from graphopt.ir import view\n")
    second = read("graphopt/ir/view.py", "import graphopt.ir.sites\n")
    assert {fault.file for fault in circles([*first, *second])} == {"graphopt.ir.sites", "graphopt.ir.view"}
    later = read("graphopt/ir/view.py", "def f():\n    import graphopt.ir.sites\n")
    assert list(circles([*first, *later])) == []
    up = read("graphopt/ir/sites.py", "def f():\n    import graphopt.nn.module\n")
    down = read("graphopt/nn/module.py", "import graphopt.ir.view\n")
    assert {fault.file for fault in circles([*up, *down])} == {"graphopt/ir", "graphopt/nn"}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ('if target.kind == "opencl": pass', [1]),
        ('x = 1\nif "llvm" != self.target.kind: pass', [2]),
        ('found = [t for t in targets if t.kind in ("llvm", "qnn")]', [1]),
        ('match target.kind:\n    case "qnn": pass', [1]),
        ('price = {"llvm": measure, "opencl": estimate}[target.kind]', [1]),
        ('if kernel.kind == "refused" or spec.kind == "rpc": pass', []),
        ("backend = registry[target.kind]", []),
    ],
)
def test_a_question_for_the_backend_is_found(source: str, lines: list[int]) -> None:
    assert list(asks_for_a_backend("new.py", source, ["llvm", "opencl", "qnn"])) == lines
