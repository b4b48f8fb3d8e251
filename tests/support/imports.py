"""What the modules of the project import, read from their source: nothing is imported to find out."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

GROUPS = ("graphopt.passes", "graphopt.backends", "graphopt.targets")  # names of entry points, and of folders of data


@dataclass(frozen=True)
class Import:
    """`line` of `file` (relative to the project) imports the module `name`; `at_once`: when the file is imported."""

    file: str
    line: int
    name: str
    at_once: bool


def module_name(file: str) -> str:
    """`graphopt/ir/sites.py` -> `graphopt.ir.sites`; built-in passes are installed below `graphopt`."""
    path = Path(file).with_suffix("")
    parts = path.parts[:-1] if path.name == "__init__" else path.parts
    return ".".join(("graphopt", *parts) if parts[0] in ("passes", "targets") else parts)


def imports_of(file: str, source: str, modules: frozenset[str]) -> list[Import]:
    """Every import in a file, also those in functions, under TYPE_CHECKING, and of modules that a text names.

    `modules`: all modules of the project, to tell `from package import module` from other names.
    """
    return list(_Reader(file, modules).read(ast.parse(source)))


@cache
def is_standard(name: str) -> bool:
    return name.partition(".")[0] in sys.stdlib_module_names


class _Reader:
    def __init__(self, file: str, modules: frozenset[str]):
        self._file, self._modules = file, modules
        self._package = module_name(file).split(".")
        if not file.endswith("__init__.py"):
            self._package.pop()

    def read(self, node: ast.AST, at_once: bool = True) -> Iterator[Import]:
        """Later: what stands in a function, or is for the type checker alone."""
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            at_once = False
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_once = False
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(self._file, node.lineno, alias.name, at_once)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*self._package[: len(self._package) + 1 - node.level], *filter(None, [node.module])])
            base = base if node.level else str(node.module)
            inner = [f"{base}.{alias.name}" for alias in node.names]
            inner = [name for name in inner if name != "graphopt.__version__"]  # what everybody may ask
            for name in dict.fromkeys(name if name in self._modules else base for name in inner):
                yield Import(self._file, node.lineno, name, at_once)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in GROUPS:
            name = node.value.partition(":")[0]  # a back door: import_module("graphopt...")
            yield from [Import(self._file, node.lineno, name, False)] if re.fullmatch(r"graphopt(\.\w+)+", name) else []
        for child in ast.iter_child_nodes(node):
            yield from self.read(child, at_once)
