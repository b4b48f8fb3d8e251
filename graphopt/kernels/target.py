"""What TVM compiles for: GPUs, which the kernel model prices, and this host's CPU, which is tuned and measured."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, model_validator

from graphopt.config.keys import Strict
from graphopt.cost.target import UNITS, Fact, Target

KernelKind = Literal["conv", "pointwise", "depthwise", "transform", "reduction", "elementwise"]

_GPU_NEEDS = set(UNITS) - {"on_chip_memory"}


class KernelModel(Strict):
    """Parameters of the kernel model (see `kernels.model.price`).

    `efficiency`: share of the arithmetic peak that a kernel of that kind reaches, where nothing else bounds it
    (`transform`: Winograd's transforms). `half_share`: share of the float16 peak that kernels see, where float32
    kernels see all of theirs. `cache_load`: MACs that a load from cache takes as long as. `overlap`: 1 where memory
    waits for arithmetic, large where each hides the other. `buffer_share`: share of its efficiency that a contraction
    keeps when it reads buffers instead of textures. `spread`: factor between middle and either bound; one above that
    of the calibration says that the parameters are carried over from another architecture (`kernels.doubt`).
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


class TvmTarget(Target):
    """A device that TVM compiles for. `runner`: what says how long its schedules take, where nobody names another."""

    is_cpu: ClassVar[bool]
    runner: ClassVar[Literal["local", "static"]]


class GpuTarget(TvmTarget):
    """A GPU that runs OpenCL, with the facts that the kernel model needs."""

    is_cpu: ClassVar[bool] = False
    runner: ClassVar[Literal["local", "static"]] = "static"

    kernel_model: KernelModel

    @model_validator(mode="before")
    @classmethod
    def _of_its_kind(cls, content: Any) -> Any:
        given = content if isinstance(content, dict) else {}
        is_gpu = given.get("device", "mali") in ("adreno", "mali")
        if not given.get("kernel_model") or "tuning" in given or not is_gpu:
            raise ValueError("an opencl target has 'kernel_model', no 'tuning', and 'device' adreno or mali")
        return content

    @model_validator(mode="after")
    def _complete(self) -> GpuTarget:
        missing = sorted(_GPU_NEEDS - set(self.facts))
        if missing:
            raise ValueError(f"an opencl target needs the facts {', '.join(missing)}")
        zero = sorted(name for name in _GPU_NEEDS if self.facts[name].value == 0 and "launch" not in name)
        if zero:
            raise ValueError(f"facts that must be above 0: {', '.join(zero)}")
        return self

    @property
    def peak_gflops(self) -> float:
        """Arithmetic peak in the target's dtype."""
        return self.fact("fp16_peak" if self.dtype == "float16" else "fp32_peak")


class CpuTarget(TvmTarget):
    """This host's CPU."""

    is_cpu: ClassVar[bool] = True
    runner: ClassVar[Literal["local", "static"]] = "local"

    tuning: Tuning

    @model_validator(mode="before")
    @classmethod
    def _of_its_kind(cls, content: Any) -> Any:
        given = content if isinstance(content, dict) else {}
        if not given.get("tuning") or "kernel_model" in given or given.get("device", "cpu") != "cpu":
            raise ValueError("an llvm target has 'tuning', no 'kernel_model', and 'device' cpu")
        return content
