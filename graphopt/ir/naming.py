"""Names that say where a node comes from: `encoders.0.1/norm1/sqrt` is an op of module `norm1` in block `encoders.0.1`."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"  # written by torch's dynamo exporter: the modules around a node, outermost first


def name_nodes(model: onnx.ModelProto) -> None:
    """Names every node after its module and op, in place. Names stay unique; nodes without a module keep theirs."""
    taken: Counter[str] = Counter()
    module = ""
    for node in model.graph.node:
        found = _module_of(node)
        module = found if found is not None else _common([module, _neighbour_module(node, module)])
        stem = "/".join(filter(None, [module_path(module), node.op_type.lower()]))
        taken[stem] += 1
        node.name = stem if taken[stem] == 1 else f"{stem}_{taken[stem]}"


def _neighbour_module(node: onnx.NodeProto, module: str) -> str:
    """A node that the exporter inserted belongs to the block of the node before it."""
    return module.rsplit(".", 1)[0] if "." in module else ""


def _module_of(node: onnx.NodeProto) -> str | None:
    scopes = next((p.value for p in node.metadata_props if p.key == SCOPES), None)
    if scopes is not None:
        modules = [scope for scope in ast.literal_eval(scopes)[:-1] if scope]
        return modules[-1] if modules else ""
    if node.name.startswith("/"):  # torch's older exporter: /encoders.0/encoders.0.1/norm1/ReduceMean
        path = ""
        for part in node.name.strip("/").split("/")[:-1]:
            path = part if not path or part.startswith(path + ".") else f"{path}.{part}"
        return path
    return None


def module_path(module: str) -> str:
    """`encoders.0.1.norm1` -> `encoders.0.1/norm1`: a slash opens a named part of a numbered block."""
    return re.sub(r"(?<=\d)\.(?=[A-Za-z_])", "/", module)


def tokens(name: str) -> list[str]:
    return re.split(r"[./]", name)


def _common(names: Iterable[str]) -> str:
    """The longest dotted prefix that all names share."""
    parts = [name.split(".") for name in names]
    shared = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        shared.append(column[0])
    return ".".join(shared)


def common_prefix(names: Iterable[str]) -> str:
    """The longest path that all node names share, cut at `.` or `/`: the module around a region."""
    paths = [name.rsplit("/", 1)[0] if "/" in name else "" for name in names]
    shortest = min(paths, key=len, default="")
    split = [tokens(path) for path in paths]
    length = 0
    while length < len(tokens(shortest)) and len({tuple(path[: length + 1]) for path in split}) == 1:
        length += 1
    matched = re.match(r"[^./]+(?:[./][^./]+){%d}" % (length - 1), shortest) if length and shortest else None
    return matched.group(0) if matched else ""
