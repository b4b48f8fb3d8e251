"""Names that say where a node comes from: `encoders.0.1/norm1/sqrt` is an op of `norm1` in block `encoders.0.1`."""

from __future__ import annotations

import ast
import os.path
import re
from collections.abc import Iterable
from itertools import count

import onnx

SCOPES = "pkg.torch.onnx.name_scopes"  # written by torch's dynamo exporter: the modules around a node, outermost first


def name_nodes(model: onnx.ModelProto) -> None:
    """Names every node after its module and op, in place. Names stay unique.

    A node that the exporter inserted belongs to the block of the node before it; where no node has a module, nodes
    keep their names.
    """
    taken: set[str] = set()
    before: str | None = None  # the module of the last node that has one
    for node in model.graph.node:
        module = _module_of(node)
        if module is not None:
            before = module = module_path(module)
        elif before is not None:
            module = before[: -len(tokens(before)[-1])].rstrip("./")
        own = node.name if module is None else ""
        stem = own or "/".join(filter(None, [module, node.op_type.lower()]))
        numbered = (f"{stem}_{number}" for number in count(2))
        node.name = stem if stem not in taken else next(name for name in numbered if name not in taken)
        taken.add(node.name)


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
    path, _, last = node.name.rpartition("/")
    if re.fullmatch(rf"{node.op_type.lower()}(_\d+)?", last):  # named by us before
        return path
    return None


def module_path(module: str) -> str:
    """`encoders.0.1.norm1` -> `encoders.0.1/norm1`: a slash opens a named part of a numbered block."""
    return re.sub(r"(?<=\d)\.(?=[A-Za-z_])", "/", module)


def tokens(name: str) -> list[str]:
    return re.split(r"[./]", name)


def common_prefix(names: Iterable[str]) -> str:
    """The longest path that all node names share, cut at `.` or `/`: the module around a region."""
    paths = {name.rpartition("/")[0] for name in names}
    prefix = os.path.commonprefix(list(paths))  # noqa: RUF071 - by characters: paths are cut at dots, too
    if all(path[len(prefix) :][:1] in ("", ".", "/") for path in paths):
        return prefix
    return prefix[: max(prefix.rfind("."), prefix.rfind("/"), 0)]
