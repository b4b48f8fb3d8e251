"""Finds targets: built in by name, a user's own by path. The backend that a file names says what else it holds."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

from graphopt.backends.registry import backend_class
from graphopt.config.precision import Precision
from graphopt.config.reading import read_yaml, validate
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError, did_you_mean

BUILT_IN = "graphopt.targets"
RENAMED = {"host-cpu": ("host-onnxruntime", "host-tvm")}  # what was one target: by what runs its networks now


def load_target(name_or_path: str) -> Target:
    """A built-in target by name, or a user's own by the path of its `.yaml`.

    Raises:
        GraphoptError: unknown name, file not found, a kind that no backend has, or another mistake in the file.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        return _read(Path(name_or_path))
    files = _built_in()
    if name_or_path in RENAMED:
        now = " or ".join(f"'{name}'" for name in RENAMED[name_or_path])
        raise GraphoptError(f"target '{name_or_path}' is not known; did you mean {now}?")
    if name_or_path not in files:
        hint = did_you_mean(name_or_path, files)
        raise GraphoptError(f"target '{name_or_path}' is not known; {hint} (your own: the path of its .yaml)")
    return _read(files[name_or_path])


def list_targets() -> list[Target]:
    """The built-in targets, in order of their names."""
    return [_read(path) for _, path in sorted(_built_in().items())]


def _built_in() -> dict[str, Path]:
    folder = resources.files(BUILT_IN)
    return {Path(str(f)).stem: Path(str(f)) for f in folder.iterdir() if f.name.endswith(".yaml")}


def _read(path: Path) -> Target:
    content = read_yaml(path)
    if "kind" not in content:
        raise GraphoptError(f"config {path}: key 'kind' is missing; it says which backend runs networks there")
    try:
        found = backend_class(str(content["kind"]))
    except GraphoptError as error:
        raise GraphoptError(f"config {path}: key 'kind': {error}") from error
    target: Target = validate(content, found.target_type, path)
    if target.precision not in found.precisions():
        given = "" if "precision" in content else ", which stands for it where it is missing"
        raise GraphoptError(
            f"config {path}: key 'precision': {target.precision}{given}: a target of kind '{target.kind}' has "
            f"{_listed(found.precisions())}"
        )
    return target


def in_precision(target: Target, precision: Precision, where: str) -> Target:
    """The target, whose networks compute in `precision`; `where` it is asked for.

    Raises:
        GraphoptError: its backend has no such precision.
    """
    known = backend_class(target.kind).precisions()
    if precision not in known:
        raise GraphoptError(f"{where}: target {target.name} has no {precision}; it has {_listed(known)}")
    return target.with_precision(precision)


def _listed(precisions: Sequence[Precision]) -> str:
    *first, last = precisions
    return f"{', '.join(first)} and {last}" if first else f"{last} alone"
