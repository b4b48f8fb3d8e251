"""The packages of the extra `litert`: what converts, and what runs."""

from __future__ import annotations

from importlib import metadata

from graphopt.errors import GraphoptError

RUNTIME, CONVERTER = "ai-edge-litert", "litert-torch"
SERIES = {RUNTIME: "2.3.", CONVERTER: "0.10."}
INSTALL = "pip install 'graphopt[litert]'"


def version(package: str, target: str) -> str:
    """The version of a package that the target needs.

    Raises:
        GraphoptError: it is not installed, or of a series that was not tried.
    """
    try:
        found = metadata.version(package)
    except metadata.PackageNotFoundError as error:
        raise GraphoptError(f"target {target} needs {package}, which is not installed: {INSTALL}") from error
    if not found.startswith(SERIES[package]):
        raise GraphoptError(f"target {target} needs {package} {SERIES[package]}*, found {found}: {INSTALL}")
    return found
