"""Finds passes: built in by name, a user's file by path, or the entry point group `graphopt.passes`."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from graphopt.errors import GraphoptError, did_you_mean
from graphopt.ir.contract import Contract
from graphopt.ir.passes import Pass, Stage

BUILT_IN = "graphopt.passes"


def pass_names() -> dict[str, str]:
    """Name -> module, or `module:class`, for built-in passes and installed plug-ins. Imports none of them.

    The name of a built-in pass stays its own.
    """
    package = importlib.import_module(BUILT_IN)
    names = {info.name.replace("_", "-"): f"{BUILT_IN}.{info.name}" for info in pkgutil.iter_modules(package.__path__)}
    return {**{entry.name: entry.value for entry in entry_points(group=BUILT_IN)}, **names}


def load_pass(name: str, options: Mapping[str, Any], folder: Path) -> Pass:
    """A pass with its options. A name that ends in `.py` is a file, relative to `folder`: its code is run."""
    kind = _from_file(folder / name) if name.endswith(".py") else pass_class(name)
    hints = get_type_hints(kind)
    known = {field.name: hints[field.name] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    for key in options:
        if key not in known:
            raise GraphoptError(f"pass {name}: unknown option '{key}'; {did_you_mean(key, known)}")
    checked = {key: _checked(name, key, known[key], value) for key, value in options.items()}
    try:
        return kind(**checked)
    except (TypeError, ValueError) as error:
        raise GraphoptError(f"pass {name}: {error}") from error


def pass_class(name: str) -> type[Pass]:
    """The class of a pass that is built in or installed."""
    return _class_among(pass_names(), name)


def _class_among(names: Mapping[str, str], name: str) -> type[Pass]:
    if name not in names:
        raise GraphoptError(f"unknown pass '{name}'; {did_you_mean(name, names)}")
    module, _, attribute = names[name].partition(":")
    try:
        imported = importlib.import_module(module)
        found = getattr(imported, attribute) if attribute else None
    except Exception as error:  # an installed package's code: anything may come out of it
        raise GraphoptError(
            f"pass {name}: the plug-in {names[name]} cannot be loaded: {error}; mend or uninstall its package"
        ) from error
    return _valid(found, f"pass {name}: the plug-in {names[name]}") if attribute else _only_pass(imported, name)


def _from_file(path: Path) -> type[Pass]:
    if not path.is_file():
        raise GraphoptError(f"pass file {path} does not exist")
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    spec = importlib.util.spec_from_file_location(f"graphopt_user_pass_{path.stem}_{digest}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look up postponed annotations there
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's code: anything may come out of it
        raise GraphoptError(f"pass file {path} raised {type(error).__name__} when it was loaded: {error}") from error
    return _only_pass(module, str(path))


def _only_pass(module: Any, where: str) -> type[Pass]:
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Pass) and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise GraphoptError(f"{where}: expected one class that derives from graphopt.Pass, found {len(found)}")
    return _valid(found[0], where)


def _valid(kind: Any, where: str) -> type[Pass]:
    if not (isinstance(kind, type) and issubclass(kind, Pass)):
        raise GraphoptError(f"{where}: expected a class that derives from graphopt.Pass, found {kind!r}")
    parameters = getattr(kind, "__dataclass_params__", None)
    if parameters is None or not parameters.frozen or not isinstance(getattr(kind, "name", None), str):
        raise GraphoptError(f"{where}: {kind.__name__} must be a frozen dataclass with a `name`")
    if not isinstance(getattr(kind, "contract", None), Contract) or not isinstance(kind.stage, Stage):
        raise GraphoptError(
            f"{where}: {kind.__name__} needs `contract: ClassVar[Contract] = Contract.EXACT`, .APPROXIMATE or .TUNED, "
            f"and its `stage`, if any, must be a Stage"
        )
    return kind


def _checked(name: str, key: str, expected: Any, value: Any) -> Any:
    """The option's value as the type that the pass declares; lists from YAML become tuples, nothing else changes."""
    try:
        return TypeAdapter(expected).validate_json(json.dumps(value), strict=True)
    except (ValidationError, TypeError, ValueError) as error:
        if get_origin(expected) is Literal:
            words = "one of " + ", ".join(map(str, get_args(expected)))
        else:
            words = getattr(expected, "__name__", str(expected)) if isinstance(expected, type) else str(expected)
        raise GraphoptError(f"pass {name}: option '{key}' is {value!r}; expected {words}") from error


def describe_passes() -> list[dict[str, Any]]:
    """One row a pass: name, stage, contract, options with their defaults, and what it does, in one line."""
    rows, names = [], pass_names()  # once: it reads what every installed package says of itself
    for name in sorted(names):
        try:
            kind = _class_among(names, name)
        except GraphoptError as error:  # one package that is broken must not hide the others
            rows.append({"name": name, "stage": "", "contract": "", "options": {}, "summary": str(error)})
            continue
        options = {field.name: _default(field) for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        documented = (sys.modules[kind.__module__].__doc__ or kind.__doc__ or "").strip()
        summary = documented.splitlines()[0].removeprefix(f"{name}: ") if documented else ""
        rows.append(
            {
                "name": name,
                "stage": str(kind.stage),
                "contract": str(kind.contract),
                "options": options,
                "summary": summary,
            }
        )
    return rows


def _default(field: dataclasses.Field[Any]) -> Any:
    """An option's default; None where the option must be given."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default
