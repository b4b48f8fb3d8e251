"""YAML files as strict models; errors name the file, the key and the nearest known key."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ValidationError,
)

from graphopt.config.keys import Strict
from graphopt.errors import GraphoptError, did_you_mean

ConfigT = TypeVar("ConfigT", bound=Strict)


_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml reads ten times as fast, where it is there


def _load(text: str) -> Any:
    """The content of a YAML text. A key that is given twice is refused: PyYAML keeps the last one, and says nothing."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_keys(node, set())
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _check_keys(node: yaml.Node, seen: set[int]) -> None:
    """`seen`: the nodes that were looked at, by identity; an alias is the node of its anchor."""
    if not isinstance(node, yaml.CollectionNode) or id(node) in seen:
        return
    seen.add(id(node))
    lines: dict[tuple[str, str], int] = {}
    for child in node.value:
        key, value = child if isinstance(node, yaml.MappingNode) else (None, child)
        if isinstance(key, yaml.ScalarNode):
            line, name = key.start_mark.line + 1, (key.tag, key.value)
            if name in lines:
                twice = f"key '{key.value}' is given twice, here and in line {lines[name]}"
                raise GraphoptError(f"line {line}: {twice}; keep one of them")
            lines[name] = line
        _check_keys(value, seen)


def read_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """Reads and checks a YAML file; every mistake in it becomes one message."""
    return validate(read_yaml(path), kind, path)


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values of a YAML file, unchecked."""
    try:
        content = _load(path.read_text())
    except FileNotFoundError as error:
        raise GraphoptError(f"config {path} does not exist") from error
    except OSError as error:
        raise GraphoptError(f"config {path} cannot be read: {error.strerror}; expected a YAML file") from error
    except GraphoptError as error:
        raise GraphoptError(f"config {path}, {error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GraphoptError(f"config {path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise GraphoptError(f"config {path}: expected keys and values, found {type(content).__name__}")
    return content


def validate(content: dict[str, Any], kind: type[ConfigT], path: Path) -> ConfigT:
    """`content` as a `kind`; relative paths are taken relative to the folder of `path`."""
    try:
        return kind.model_validate(content, context={"folder": path.parent})
    except ValidationError as error:
        lines = "; ".join(_explain(detail, kind) for detail in error.errors())
        raise GraphoptError(f"config {path}: {lines}") from error


def _explain(detail: Any, kind: type[BaseModel]) -> str:
    location = [part for part in detail["loc"] if isinstance(part, str | int)]
    where = ".".join(str(part) for part in location) or "top level"
    if detail["type"] == "extra_forbidden":
        known = _keys_at(kind, location[:-1])
        return f"unknown key '{where}'; {did_you_mean(str(location[-1]), known)}"
    if detail["type"] == "missing":
        return f"key '{where}' is missing"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "value_error" and isinstance(detail["input"], dict):  # about keys together, which it names
        return message if not location else f"key '{where}': {message}"
    return f"key '{where}': {message}, found {detail['input']!r}"


def _keys_at(kind: type[BaseModel], location: list[str | int]) -> list[str]:
    """The keys that `kind` allows at a nested location."""
    model: Any = kind
    for part in location:
        field = model.model_fields.get(part) if isinstance(part, str) else None
        nested = _classes(field.annotation) if field is not None else [model]
        model = next((a for a in nested if issubclass(a, BaseModel)), model)
    return list(model.model_fields)


def _classes(annotation: Any) -> list[type]:
    if isinstance(annotation, type):
        return [annotation]
    return [found for part in getattr(annotation, "__args__", ()) for found in _classes(part)]
