"""A bundle: a folder with the artefact of one target and all that is needed to run it, here or on another machine."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from graphopt import __version__
from graphopt.atomic import replacing
from graphopt.backends.base import Artefact, Backend
from graphopt.backends.registry import open_backend
from graphopt.backends.targets import load_target
from graphopt.bundle.manifest import BundledFile, Figure, Manifest, make_manifest, read_manifest
from graphopt.bundle.samples import write_samples
from graphopt.cost.cache import CostCache
from graphopt.cost.target import Target
from graphopt.errors import GraphoptError

MANIFEST = "manifest.json"
TARGET = "target.yaml"


@dataclass(frozen=True)
class Bundle:
    """A folder whose files are what its manifest says."""

    folder: Path
    manifest: Manifest

    @classmethod
    def open(cls, folder: Path) -> Bundle:
        """Reads the manifest, and checks each file against it.

        Raises:
            GraphoptError: no bundle, a file that is missing, or one that is not the one that was written.
        """
        manifest = read_manifest(folder / MANIFEST)
        for file in manifest.files:
            path = folder / file.name
            if not path.is_file():
                raise GraphoptError(f"{path} is missing, which {MANIFEST} names; copy the whole folder of the bundle")
            if digest(path) != file.sha256:
                raise GraphoptError(
                    f"{path} is not the file that {MANIFEST} names: its hash differs; copy the bundle again, or run "
                    "the pipeline again"
                )
        return cls(folder, manifest)

    @property
    def paths(self) -> list[Path]:
        """Of the files that a device needs, and of the manifest."""
        return [*self.artefact.files, self.folder / MANIFEST]

    @property
    def artefact(self) -> Artefact:
        """As the backend built it."""
        files = tuple(self.folder / file.name for file in self.manifest.files)
        return Artefact(files, self.manifest.model_dump(mode="json", by_alias=True))

    @property
    def target(self) -> Target:
        """From the bundle's own file: another machine need not know it.

        Raises:
            GraphoptError: it is another bundle's.
        """
        found = load_target(str(self.folder / TARGET))
        if found.kind != self.manifest.kind:
            raise GraphoptError(
                f"{self.folder / TARGET} is of kind '{found.kind}', and {MANIFEST} of '{self.manifest.kind}'; copy the "
                "whole folder of the bundle"
            )
        return found

    def backend(self, cache: CostCache) -> Backend[Any]:
        """What runs the artefact."""
        return open_backend(self.target, cache)

    def with_figures(self, figures: Sequence[Figure]) -> Bundle:
        """The same bundle, its manifest written anew: figures of the same thing from the same device give way."""
        new = {_subject(figure) for figure in figures}
        kept = [figure for figure in self.manifest.figures if _subject(figure) not in new]
        manifest = self.manifest.model_copy(update={"figures": [*kept, *figures]})
        _write_manifest(self.folder, manifest)
        return Bundle(self.folder, manifest)


def empty_folder(folder: Path) -> Path:
    """Makes the folder of a bundle, without what an earlier one left in it."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    return folder


def write_bundle(folder: Path, target: Target, artefact: Artefact, about: dict[str, Any]) -> Bundle:
    """Writes what a bundle holds beside the artefact, whose files are in `folder`; the manifest comes last.

    `about`: the keys of the manifest that no backend knows.
    """
    text = yaml.safe_dump(target.model_dump(mode="json", exclude_unset=True), sort_keys=False, allow_unicode=True)
    _write(folder / TARGET, text)
    files = [
        BundledFile(name=path.relative_to(folder).as_posix(), sha256=digest(path), bytes=path.stat().st_size)
        for path in artefact.files
    ]
    manifest = make_manifest({"graphopt": __version__, **artefact.manifest, "files": files, **about}, target.name)
    write_samples(folder, manifest, target)
    _write_manifest(folder, manifest)
    return Bundle(folder, manifest)


def digest(path: Path) -> str:
    """The SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _subject(figure: Figure) -> tuple[Any, ...]:
    return figure.what, figure.device, figure.size, figure.provenance


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    _write(folder / MANIFEST, manifest.model_dump_json(indent=1, by_alias=True) + "\n")


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)
