"""What a run found beside what a paper published: ratios, the part of the network behind each, and how low it goes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from graphopt.report.keep import KEEP

QUANTITIES = {"latency": "latency", "memory": "peak memory", "parameters": "parameters", "psnr": "PSNR"}


@dataclass(frozen=True)
class Option:
    """What a candidate changes on the first searched target, in its context: ms and parameters."""

    latency: float
    parameters: float


@dataclass(frozen=True)
class Place:
    """A site with its candidates, the one chosen, and the site around it, if any."""

    site: str
    parent: str | None
    chosen: str
    options: Mapping[str, Option]


@dataclass(frozen=True)
class Ratio:
    """After / before of one quantity: published, found here, and the least that these candidates leave, if known."""

    name: str
    published: float | None
    found: float
    least: float | None
    parts: Mapping[str, float] = field(default_factory=dict)  # kind of site -> change as a share of before

    @property
    def verdict(self) -> str:
        """Whether the published ratio was reached, and whether these candidates could reach it at all."""
        if self.published is None:
            return ""
        if self.found <= self.published if self.name != QUANTITIES["psnr"] else self.found >= self.published:
            return "reached"
        if self.least is not None and self.least > self.published:
            return f"not reached, nor can it be at these sites alone: their smallest candidates leave {self.least:.3f}"
        return "not reached"


@dataclass(frozen=True)
class Comparison:
    """Every ratio beside that of `source`."""

    source: str
    ratios: list[Ratio]


def compare(
    source: str, published: Mapping[str, float | None], before: Mapping[str, float], after: Mapping[str, float],
    places: Iterable[Place],
) -> Comparison:  # fmt: skip
    """`published`, `before` and `after` have the keys of QUANTITIES; parts and limits are sums over `places`."""
    known = {place.site: place for place in places}
    ratios = []
    for key, name in QUANTITIES.items():
        parts: dict[str, float] = {}
        least = None
        if key in ("latency", "parameters"):
            sums: dict[str, float] = defaultdict(float)
            for place in known.values():
                if place.chosen != KEEP and not _is_inside_replaced(place, known):
                    sums[place.site.rsplit("/", 1)[-1]] += getattr(place.options[place.chosen], key)
            parts = {kind: value / before[key] for kind, value in sums.items()}
            roots = [place for place in known.values() if place.parent is None]
            least = 1 + sum(_least(place, known, key) for place in roots) / before[key]
            least = min(least, after[key] / before[key])  # what folds across sites is in the network, in no part
        ratios.append(Ratio(name, published.get(key), after[key] / before[key], least, parts))
    return Comparison(source, ratios)


def _least(place: Place, known: Mapping[str, Place], key: str) -> float:
    """The most that a site can save: by its own candidates, or by those of the sites inside it."""
    inside = sum(_least(other, known, key) for other in known.values() if other.parent == place.site)
    own = [float(getattr(option, key)) for option in place.options.values()]
    return min([*own, inside, 0.0])


def _is_inside_replaced(place: Place, known: Mapping[str, Place]) -> bool:
    outer = known.get(place.parent) if place.parent is not None else None
    return outer is not None and (outer.chosen != KEEP or _is_inside_replaced(outer, known))
