"""Finds backends: the entry point group `graphopt.backends`, by the kind that a target's file names."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from graphopt.backends.base import Backend
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError, did_you_mean

GROUP = "graphopt.backends"


def backend_names() -> dict[str, str]:
    """Kind -> `module:class` of every installed backend. Imports none. The kind of one of ours stays its own."""
    return dict(_installed(tuple(sys.path)))


@lru_cache(maxsize=1)
def _installed(path: tuple[str, ...]) -> dict[str, str]:
    """By what Python's `path` was: to ask every installed package takes a while, and targets ask for each file."""
    entries = list(entry_points(group=GROUP))
    ours = {entry.name: entry.value for entry in entries if entry.module.startswith(f"{GROUP}.")}
    return {**{entry.name: entry.value for entry in entries}, **ours}


def backend_class(kind: str) -> type[Backend[Any]]:
    """The backend of a kind of target.

    Raises:
        GraphoptError: there is none, or it cannot be loaded.
    """
    names = backend_names()
    if kind not in names:
        raise GraphoptError(f"no backend is called '{kind}'; {did_you_mean(kind, names)}")
    where = f"backend {kind}: {names[kind]}"
    module, _, attribute = names[kind].partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except Exception as error:  # an installed package's code: anything may come out of it
        raise GraphoptError(f"{where} cannot be loaded: {error}; mend or uninstall its package") from error
    if not (isinstance(found, type) and issubclass(found, Backend)):
        raise GraphoptError(f"{where}: expected a class that derives from graphopt.backends.base.Backend")
    missing = [name for name in ("target_type", "provenance") if not hasattr(found, name)]
    missing += sorted(found.__abstractmethods__)
    if missing or getattr(found, "kind", None) != kind:
        missing = missing or [f"kind = '{kind}'"]
        raise GraphoptError(f"{where}: {found.__name__} lacks {', '.join(missing)}")
    return found


def open_backend(target: Target, cache: CostCache) -> Backend[Any]:
    """The backend of a target, whose prices and tuning databases are in `cache`."""
    return backend_class(target.kind)(target, cache)
