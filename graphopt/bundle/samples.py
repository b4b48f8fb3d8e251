"""What a bundle says to people: a README of ten lines, and a sample in the languages that its runtime is used from.

Templates lie in `samples/FORMAT/`, those for phones alone in `samples/FORMAT/android/`. A format without any, as one of
your own backend may be, has the README alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from graphopt.atomic import replacing
from graphopt.bundle.manifest import Manifest
from graphopt.cost.target import Target

TEMPLATES = Path(__file__).with_name("samples")
README, SAMPLE, ENDING = "README.md", "sample", ".j2"


def write_samples(folder: Path, manifest: Manifest, target: Target) -> None:
    """Writes README.md into the folder of a bundle, and its samples into sample/."""
    environment = Environment(loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, keep_trailing_newline=True)
    is_phone = target.device != "cpu"
    about = _facts(manifest, target, is_phone)
    own = TEMPLATES / manifest.format
    places = [own, own / "android"] if is_phone else [own]
    found = [path for place in places for path in sorted(place.glob(f"*{ENDING}"))]
    readme = (
        f"{manifest.format}/{README}{ENDING}" if (own / f"{README}{ENDING}").exists() else f"shared/{README}{ENDING}"
    )
    _write(folder / README, environment.get_template(readme).render(about))
    for path in found:
        name = path.name.removesuffix(ENDING)
        if name != README:
            (folder / SAMPLE).mkdir(exist_ok=True)
            made = environment.get_template(path.relative_to(TEMPLATES).as_posix()).render(about)
            _write(folder / SAMPLE / name, made)


def _facts(manifest: Manifest, target: Target, is_phone: bool) -> dict[str, Any]:
    """What templates are filled with: the manifest, and what follows from it."""
    return {
        **manifest.model_dump(mode="json", by_alias=True),
        "file": manifest.files[0].name,
        "free": manifest.size is None,
        "half": manifest.inputs[0].dtype == "float16",
        "last": manifest.inputs[0].layout == "NHWC",
        "threads": getattr(target, "threads", 1),
        "android": is_phone,
        "here": not is_phone,
    }


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(f"{text.rstrip()}\n")
