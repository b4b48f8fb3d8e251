"""The arguments and options that several commands have, each with one help text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from graphopt.errors import GraphoptError

A_MODEL = "an ONNX file, a checkpoint, or the name of a shipped network"
A_TARGET = "name of a target, or the path of its YAML"

PipelineArgument = Annotated[Path, typer.Argument(help="the pipeline, a YAML file")]
ModelArgument = Annotated[str, typer.Argument(help=A_MODEL)]
TargetArgument = Annotated[str, typer.Argument(help=A_TARGET)]
ModelOption = Annotated[str, typer.Option("--model", help=A_MODEL)]
RestorerOption = Annotated[str, typer.Option("--model", help=f"{A_MODEL}; or the folder of a bundle")]
TargetOption = Annotated[str, typer.Option("--target", help=A_TARGET)]
ResolutionOption = Annotated[tuple[int, int] | None, typer.Option("--resolution", help="height and width of the image")]
FolderOption = Annotated[Path | None, typer.Option("--run", help="run folder; runs/NAME by default")]
TrackerOption = Annotated[str | None, typer.Option("--tracker", help="HOST:PORT of a TVM RPC tracker")]
KeyOption = Annotated[str | None, typer.Option("--key", help="what the tracker calls the device, e.g. phone")]
PassOptions = Annotated[list[str] | None, typer.Option("--option", help="KEY=VALUE, as in YAML; may be repeated")]
JsonFlag = Annotated[bool, typer.Option("--json", help="print JSON")]


def parse_options(given: Sequence[str]) -> dict[str, Any]:
    """`["share=0.25"]` -> `{"share": 0.25}`; values are read as YAML."""
    import yaml

    options: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise GraphoptError(f"option '{text}': expected KEY=VALUE, e.g. --option share=0.25")
        if key in options:
            raise GraphoptError(f"option '{key}' is given twice; keep one of them")
        try:
            options[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise GraphoptError(f"option '{text}': the value is not valid YAML") from error
    return options
