"""Targets: hardware facts in YAML, each with its unit and its source, and how cost is obtained there."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from pydantic import Field, model_validator

from graphopt.config.keys import Strict
from graphopt.config.reading import read_config
from graphopt.errors import GraphoptError, did_you_mean

KernelKind = Literal["conv", "pointwise", "depthwise", "transform", "reduction", "elementwise"]

UNITS = {
    "fp32_peak": "GFLOPS",
    "fp16_peak": "GFLOPS",
    "dram_bandwidth": "GB/s",
    "dram_share": "1",
    "launch_overhead": "us",
    "launch_overhead_worst": "us",
    "max_threads": "1",
    "threads_to_fill": "1",
    "local_memory": "byte",
    "wave_size": "1",
    "vector_width": "1",
    "accumulators": "1",
    "special_function_rate": "1",
    "on_chip_memory": "byte",
}
NPU_UNITS = {
    "launch": "ms",
    "per_gmac": "ms/GMAC",
    "per_megabyte": "ms/MB",
    "per_supertile": "ms",
    "supertile_exponent": "1",
    "calibrated_supertiles": "1",
    "spread": "1",
    "spread_beyond": "1",
}
_OPENCL_NEEDS = set(UNITS) - {"on_chip_memory"}


class Fact(Strict):
    """One figure: its value, its unit, and where it comes from. A guess says `assumption` in its source."""

    value: float = Field(ge=0)
    unit: str
    source: str = Field(min_length=8)


class KernelModel(Strict):
    """Parameters of the kernel model (see `kernel_model.price`).

    `efficiency`: share of the arithmetic peak that a kernel of that kind reaches, where nothing else bounds it
    (`transform`: Winograd's transforms). `half_share`: share of the float16 peak that kernels see, where float32
    kernels see all of theirs. `cache_load`: MACs that a load from cache takes as long as. `overlap`: 1 where memory
    waits for arithmetic, large where each hides the other. `buffer_share`: share of its efficiency that a contraction
    keeps when it reads buffers instead of textures. `spread`: factor between middle and either bound.
    """

    efficiency: dict[KernelKind, Fact]
    half_share: Fact
    cache_load: Fact
    overlap: Fact
    buffer_share: Fact
    spread: Fact

    @model_validator(mode="after")
    def _complete(self) -> KernelModel:
        for kind in get_args(KernelKind):
            fact = self.efficiency.get(kind)
            if fact is None or not 0 < fact.value <= 1:
                raise ValueError(f"'efficiency' needs a share in (0, 1] for '{kind}'")
        for name, share in (("half_share", self.half_share), ("buffer_share", self.buffer_share)):
            if not 0 < share.value <= 1:
                raise ValueError(f"'{name}' is a share in (0, 1]")
        if self.overlap.value < 1:
            raise ValueError("'overlap' is an exponent and at least 1")
        if self.spread.value < 1:
            raise ValueError("'spread' is a factor and at least 1")
        return self


class Tuning(Strict):
    """How the host is tuned and measured."""

    trials: int = Field(32, ge=0, description="MetaSchedule trials for a whole network, where tuning is asked for")
    trials_per_iteration: int = Field(8, ge=1)
    threads: int = Field(1, ge=1, description="threads that the network runs on")
    warm_up: int = Field(1, ge=0)
    repeats: int = Field(5, ge=1, description="measurements; their median is the latency")
    minimum_repeat_ms: int = Field(20, ge=0)
    run_timeout_s: int = Field(30, ge=1)


class NpuCompiler(Strict):
    """The chip that Qualcomm's offline compiler compiles for, and how long one network may take it."""

    soc_model: int = Field(ge=1, description="Qualcomm's number of the chip: 57 is sm8650")
    htp_arch: int = Field(ge=68, description="version of the Hexagon architecture")
    time_limit_s: float = Field(900, gt=0)


class NpuModel(Strict):
    """Parameters of the NPU's regression (see `npu_model.price`)."""

    launch: Fact
    per_gmac: Fact
    per_megabyte: Fact
    per_supertile: Fact
    supertile_exponent: Fact
    calibrated_supertiles: Fact
    spread: Fact
    spread_beyond: Fact

    @model_validator(mode="after")
    def _consistent(self) -> NpuModel:
        for name, unit in NPU_UNITS.items():
            found = getattr(self, name).unit
            if found != unit:
                raise ValueError(f"'{name}' is given in '{found}', expected '{unit}'")
        if min(self.spread.value, self.spread_beyond.value) < 1:
            raise ValueError("'spread' and 'spread_beyond' are factors and at least 1")
        if not 0 < self.supertile_exponent.value <= 1:
            raise ValueError("'supertile_exponent' is above 0 and at most 1")
        return self


class Target(Strict):
    """A device. `opencl` targets are priced by the kernel model and `qnn` ones by the regression over what the NPU's
    compiler says (both `estimated`), `llvm` is this host (`measured`).
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    title: str
    kind: Literal["opencl", "llvm", "qnn"]
    device: Literal["adreno", "mali", "cpu", "hexagon"]
    dtype: Literal["float16", "float32"] = "float16"
    facts: dict[str, Fact] = Field(default_factory=dict)
    kernel_model: KernelModel | None = None
    tuning: Tuning | None = None
    npu_compiler: NpuCompiler | None = None
    npu_model: NpuModel | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Target:
        for name, fact in self.facts.items():
            if name not in UNITS:
                raise ValueError(f"unknown fact '{name}'; {did_you_mean(name, UNITS)}")
            if fact.unit != UNITS[name]:
                raise ValueError(f"fact '{name}' is given in '{fact.unit}', expected '{UNITS[name]}'")
        has_npu, is_npu = (self.npu_compiler is not None, self.npu_model is not None), self.kind == "qnn"
        if has_npu != (is_npu, is_npu) or is_npu != (self.device == "hexagon"):
            raise ValueError("a qnn target, and no other, has 'npu_compiler', 'npu_model', and 'device' hexagon")
        if is_npu:
            if self.kernel_model is not None or self.tuning is not None or self.dtype != "float16":
                raise ValueError("a qnn target has no 'kernel_model', no 'tuning', and computes in 'float16'")
        elif self.kind == "opencl":
            missing = sorted(_OPENCL_NEEDS - set(self.facts))
            if missing:
                raise ValueError(f"an opencl target needs the facts {', '.join(missing)}")
            zero = sorted(name for name in _OPENCL_NEEDS if self.facts[name].value == 0 and "launch" not in name)
            if zero:
                raise ValueError(f"facts that must be above 0: {', '.join(zero)}")
            if self.kernel_model is None or self.device == "cpu" or self.tuning is not None:
                raise ValueError("an opencl target has 'kernel_model', no 'tuning', and 'device' adreno or mali")
        elif self.tuning is None or self.device != "cpu" or self.kernel_model is not None:
            raise ValueError("an llvm target has 'tuning', no 'kernel_model', and 'device' cpu")
        elif self.dtype != "float32":
            raise ValueError("an llvm target computes in 'float32'")
        return self

    def fact(self, name: str) -> float:
        """The value of a fact, in the unit of `UNITS`."""
        if name not in self.facts:
            raise GraphoptError(f"target {self.name}: no fact '{name}'; {did_you_mean(name, self.facts)}")
        return self.facts[name].value

    @property
    def provenance(self) -> Literal["measured", "estimated"]:
        return "measured" if self.kind == "llvm" else "estimated"

    @property
    def peak_gflops(self) -> float:
        """Arithmetic peak in the target's dtype."""
        return self.fact("fp16_peak" if self.dtype == "float16" else "fp32_peak")

    @property
    def bytes_per_element(self) -> int:
        return 2 if self.dtype == "float16" else 4


def _built_in() -> dict[str, Path]:
    folder = resources.files("graphopt.targets")
    return {Path(str(f)).stem: Path(str(f)) for f in folder.iterdir() if f.name.endswith(".yaml")}


def load_target(name_or_path: str) -> Target:
    """A built-in target by name, or a user's own by the path of its `.yaml`.

    Raises:
        GraphoptError: unknown name, file not found, or a mistake in the file.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        return read_config(Path(name_or_path), Target)
    files = _built_in()
    if name_or_path not in files:
        hint = did_you_mean(name_or_path, files)
        raise GraphoptError(f"target '{name_or_path}' is not known; {hint} (your own: the path of its .yaml)")
    return read_config(files[name_or_path], Target)


def list_targets() -> list[Target]:
    """The built-in targets, in order of their names."""
    return [read_config(path, Target) for _, path in sorted(_built_in().items())]
