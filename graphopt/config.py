"""What users may write in YAML: strict models, and errors that name the file, the key and the nearest known key."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from graphopt.errors import GraphoptError, did_you_mean


def _beside_config(value: Any, info: ValidationInfo) -> Any:
    """Relative paths in a YAML file are relative to that file."""
    folder = (info.context or {}).get("folder")
    return Path(folder) / value if folder is not None and isinstance(value, str | Path) else value


FilePath = Annotated[Path, BeforeValidator(_beside_config)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Patches = tuple[Positive, Positive]


class Strict(BaseModel):
    """No key that is not declared, no `yes` or infinity in place of a number, no change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        asked = info.field_name is not None and cls.model_fields[info.field_name].annotation is bool
        if isinstance(value, bool) and not asked:  # YAML reads yes and off as these, and pydantic takes them as 1 and 0
            raise ValueError("expected a number, a text or a list")
        return value


class ModelConfig(Strict):
    """The network to build: a NAFNet (`width`, and blocks at each level), or `network` and its options beside it."""

    network: str = Field(
        default="nafnet", description="a name of `graphopt models list`; a NAFNet where it is not given"
    )
    options: dict[str, Any] = Field(default={}, description="those of `network`; in YAML they stand beside its name")
    width: int = Field(default=32, ge=1)
    encoder_blocks: tuple[Count, ...] = (2, 2, 4, 8)
    middle_blocks: int = Field(default=12, ge=0)
    decoder_blocks: tuple[Count, ...] = (2, 2, 2, 2)

    @model_validator(mode="before")
    @classmethod
    def _options_of_another(cls, value: Any) -> Any:
        """Only the network that is built knows its options: it checks them."""
        if not isinstance(value, dict) or value.get("network", "nafnet") == "nafnet" or "options" in value:
            return value
        return {"network": value["network"], "options": {k: v for k, v in value.items() if k != "network"}}

    @model_validator(mode="after")
    def _same_levels(self) -> ModelConfig:
        if self.options and self.network == "nafnet":
            raise ValueError("'options' belong to a 'network'; give its name")
        if len(self.encoder_blocks) != len(self.decoder_blocks):
            raise ValueError("'encoder_blocks' and 'decoder_blocks' must have the same length")
        return self


class PairFolders(Strict):
    """Noisy images and their clean partners, of the same names."""

    noisy: FilePath
    clean: FilePath


class SiddFolder(Strict):
    """SIDD as it is published: scenes of pairs to train on, or the validation blocks."""

    sidd: FilePath


class H5File(Strict):
    """Patches in HDF5: a dataset `clean` and, for pairs, `noisy`."""

    h5: FilePath


_SOURCES = {"pairs": PairFolders, "sidd": SiddFolder, "h5": H5File}


def _kind_of_source(value: Any) -> str:
    if isinstance(value, dict):
        return next((key for key in ("sidd", "h5") if key in value), "pairs")
    return next((tag for tag, kind in _SOURCES.items() if isinstance(value, kind)), "folder")


Source = Annotated[
    Annotated[FilePath, Tag("folder")]
    | Annotated[PairFolders, Tag("pairs")]
    | Annotated[SiddFolder, Tag("sidd")]
    | Annotated[H5File, Tag("h5")],
    Discriminator(_kind_of_source),
]
Sigma = Annotated[float, Field(ge=0)]
Variance = Annotated[float, Field(gt=0)]


def _rising(value: Any, name: str) -> Any:
    if isinstance(value, tuple) and value[0] > value[1]:
        raise ValueError(f"'{name}' is a range [low, high]; expected low <= high, found [{value[0]:g}, {value[1]:g}]")
    return value


class RawNoiseKeys(Strict):
    """Noise of a camera's sensor. Ranges of variances at full signal (`shot`) and without any (`read`)."""

    shot: tuple[Variance, Variance] = (1e-4, 0.012)
    read: tuple[Variance, Variance] | None = Field(default=None, description="follows shot by default")

    @model_validator(mode="after")
    def _low_first(self) -> RawNoiseKeys:
        _rising(self.shot, "shot")
        _rising(self.read, "read")
        return self


class NoiseKeys(Strict):
    """The noise that clean images get: `sigma`, or with `noise: raw` that of a camera's sensor."""

    sigma: Sigma | tuple[Sigma, Sigma] = Field(
        default=25, description="standard deviation of the noise on the scale 0-255, or a range: [0, 50]"
    )
    noise: Literal["gaussian"] | RawNoiseKeys = "gaussian"

    @field_validator("noise", mode="before")
    @classmethod
    def _short_noise(cls, value: Any) -> Any:
        if isinstance(value, str) and value not in ("gaussian", "raw"):
            raise ValueError("expected gaussian, raw, or {shot: [low, high], read: [low, high]}")
        return RawNoiseKeys() if value == "raw" else value

    @field_validator("sigma", mode="before")
    @classmethod
    def _number_or_range(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and len(value) != 2:
            raise ValueError("expected a number or a range [low, high]")
        return value

    @model_validator(mode="after")
    def _one_noise(self) -> NoiseKeys:
        _rising(self.sigma, "sigma")
        if self.noise != "gaussian" and "sigma" in self.model_fields_set:
            raise ValueError("give either 'sigma' or 'noise: raw': the noise of a sensor has no sigma")
        return self


class TrainData(NoiseKeys):
    """What to train on: folders of clean photographs, pairs `{noisy: DIR, clean: DIR}`, `{sidd: DIR}`, `{h5: FILE}`."""

    train: list[Source] = Field(min_length=1)
    vary: bool = Field(default=True, description="train on patches at several scales, colours and contrasts too")
    mixup: float = Field(default=0, ge=0, description="blends two patches; the parameter of the beta distribution")


class EvaluationData(NoiseKeys):
    """What to judge by; the same kinds of sources."""

    test: list[Source] = Field(min_length=1)


class DataConfig(TrainData, EvaluationData):
    """Photographs to calibrate and train on, and others to judge the result by. Noise is added on the fly."""

    calibration_images: int = Field(default=4, ge=1)


class JudgedData(EvaluationData):
    """`data` of any configuration, read for its `test` alone."""

    model_config = ConfigDict(extra="ignore")


class JudgeConfig(Strict):
    """`graphopt evaluate --data FILE.yaml`: the `data` of a pipeline; its other keys are passed over."""

    model_config = ConfigDict(extra="ignore")
    data: JudgedData


Truth = Literal["psnr", "charbonnier", "l1", "l2", "ms-ssim"]
Weight = Annotated[float, Field(ge=0)]


class TrainingKeys(Strict):
    """What every training takes: schedule, losses, and how it runs."""

    learning_rate: float = Field(default=2e-3, gt=0)
    warm_up: float = Field(default=0.02, ge=0, lt=1, description="share of the training in which the rate rises")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the mean of the weights, which is the result")
    clip_gradient: float = Field(default=1.0, gt=0)
    accumulate: Positive = Field(default=1, description="parts of a batch that go through one after the other")
    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = Field(default=False, description="torch.compile; needs a C++ compiler")
    workers: Count = Field(default=0, description="processes that prepare patches ahead")
    seed: Count = 0


def _check_batches(keys: TrainingKeys, losses: Iterable[str], *batches: Patches) -> None:
    """What would otherwise be found wrong at the first step, which may come late."""
    for count, size in batches:
        if count % keys.accumulate:
            raise ValueError(f"'accumulate': {count} patches cannot be parted into {keys.accumulate} equal parts")
        if "ms-ssim" in losses and size < 11:
            raise ValueError(f"'losses': ms-ssim needs patches of 11 pixels or more, found {size}")


def _some_truth(losses: dict[Any, float]) -> dict[Any, float]:
    if not any(weight for name, weight in losses.items() if name in get_args(Truth)):
        raise ValueError(f"'losses' needs a weight above 0 for one of {', '.join(get_args(Truth))}")
    return losses


class PretrainConfig(TrainingKeys):
    """`graphopt pretrain`: the network, the photographs, and how long to train (`steps` or `minutes`).

    `images` and `sigma` are short for `data: {train: images, sigma: sigma, vary: false}`.
    """

    model: ModelConfig = ModelConfig()
    joint: bool = Field(
        default=False, description="trains a super-network on the same trunk too, detached in the end (ENERZAi)"
    )
    branches: bool = Field(
        default=False, description="1x3 and 3x1 beside each 3x3 convolution, fused in the end (Mier)"
    )
    images: list[FilePath] | None = Field(default=None, min_length=1)
    data: TrainData | None = None
    output: FilePath
    sigma: float = Field(default=25, ge=0, description="standard deviation of the noise, on the scale 0-255")
    steps: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)
    losses: Annotated[dict[Truth, Weight], AfterValidator(_some_truth)] = {"psnr": 1}
    small: Patches = Field(default=(16, 64), description="patches in a batch, and their size")
    large: Patches = Field(default=(4, 128), description="the same for the last part of the training")
    large_share: float = Field(default=0.3, ge=0, le=1)
    threads: int | None = Field(default=None, ge=1)
    save_every: int = Field(default=500, ge=1)

    @model_validator(mode="after")
    def _one_budget(self) -> PretrainConfig:
        if (self.steps is None) == (self.minutes is None):
            raise ValueError("give either 'steps' or 'minutes'")
        return self

    @model_validator(mode="after")
    def _batches(self) -> PretrainConfig:
        _check_batches(self, self.losses, self.small, self.large)
        return self

    @model_validator(mode="after")
    def _one_source(self) -> PretrainConfig:
        if (self.images is None) == (self.data is None):
            raise ValueError("give either 'images' or 'data: {train: [...]}'")
        if self.data is not None and "sigma" in self.model_fields_set:
            raise ValueError("'sigma' belongs into 'data' beside 'train'")
        return self

    @property
    def source(self) -> TrainData:
        """What to train on, however it was given."""
        if self.data is not None:
            return self.data
        assert self.images is not None
        return TrainData(train=list(self.images), sigma=self.sigma, vary=False)


class PassSpec(Strict):
    """A pass by name or by path (`./my_pass.py`), with its options. In YAML: `name` or `{name: {option: value}}`."""

    name: str
    options: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, dict) and len(value) == 1 and not {"name", "options"} & value.keys():
            name, options = next(iter(value.items()))
            return {"name": name, "options": options or {}}
        return value


METHODS = ("entropy", "darts", "gumbel", "proxyless", "milp", "greedy", "evolution", "random")
FORWARDS = ("soft", "gumbel", "path", "straight-through")
Share = Annotated[float, Field(gt=0, le=1)]


def _known(value: str, names: tuple[str, ...]) -> str:
    if value not in names:
        raise ValueError(f"'{value}' is not known; {did_you_mean(value, names)}")
    return value


class ObjectiveConfig(Strict):
    """What the hardware terms ask for beside the latency. Memory and parameters are shares of the original's."""

    targets: Literal["mix", "worst"] = Field(
        default="mix", description="several targets: their weighted sum, or the one that is furthest from its goal"
    )
    memory: Share | None = None
    parameters: Share | None = None
    memory_weight: float = Field(default=40.0, ge=0)
    parameter_weight: float = Field(default=40.0, ge=0)


class SearchConfig(Strict):
    """The search. `latency`: the goal, as a share of the original's, on every searched target."""

    method: str = Field(default="entropy", description=", ".join(METHODS))
    forward: str | None = Field(default=None, description=f"{', '.join(FORWARDS)}; the method's own by default")
    latency: Share = 0.6
    objective: ObjectiveConfig = ObjectiveConfig()
    pareto: list[Share] = Field(default=[], description="further goals, for a front of networks")
    baselines: list[str] = Field(default=[], description="further methods, to be drawn beside the front")
    warm_up_steps: int = Field(default=20, ge=0)
    steps: int = Field(default=120, ge=1)
    patches: Patches = Field(default=(8, 64), description="patches in a batch, and their size")
    matching_steps: int = Field(default=10, ge=0, description="steps that train each candidate alone to its site")
    matching_rate: float = Field(default=1e-2, gt=0)
    held_out: float = Field(default=0.25, gt=0, lt=1, description="share of the photographs that choices train on")
    learning_rate: float = Field(default=1e-3, gt=0)
    choice_learning_rate: float = Field(default=0.1, gt=0)
    distillation: float = Field(default=0.5, ge=0, description="weight of the loss against the original's output")
    sensitivity: float = Field(default=3.0, ge=0, description="weight of what each candidate alone loses, in dB")
    entropy: float = Field(default=3.0, ge=0, description="largest weight of the normalised entropy")
    latency_weight: float = Field(default=40.0, ge=0)
    temperature: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.0, 0.05)
    evaluations: int = Field(default=100, ge=2, description="networks that `random` and `evolution` judge")
    record_every: int = Field(default=10, ge=1)
    seed: Count = 0

    @field_validator("method")
    @classmethod
    def _known_method(cls, value: str) -> str:
        return _known(value, METHODS)

    @field_validator("baselines")
    @classmethod
    def _known_baselines(cls, value: list[str]) -> list[str]:
        return [_known(name, METHODS) for name in value]

    @field_validator("forward")
    @classmethod
    def _known_forward(cls, value: str | None) -> str | None:
        return value if value is None else _known(value, FORWARDS)

    @property
    def budget(self) -> int:
        """Training steps of every method: each is a batch forward and backward; a batch forward counts a third."""
        return self.warm_up_steps + 2 * self.steps


class FinetuneConfig(TrainingKeys):
    """Training of the chosen network, distilled from the original.

    `losses`: those against the clean image, `teacher` (the same against the original's output) and `features`;
    `distillation: 0.5` is short for `losses: {psnr: 1, teacher: 0.5}`.
    """

    steps: int = Field(default=800, ge=0)
    patches: Patches = (8, 64)
    losses: Annotated[dict[Truth | Literal["teacher", "features"], Weight], AfterValidator(_some_truth)] = {
        "psnr": 1,
        "teacher": 0.5,
    }
    warm_up: float = Field(default=0.03, ge=0, lt=1)
    ema: float = Field(default=0.99, ge=0, lt=1)
    record_every: int = Field(default=25, ge=1)
    seed: Count = 1

    @model_validator(mode="after")
    def _batches(self) -> FinetuneConfig:
        _check_batches(self, self.losses, self.patches)
        return self

    @model_validator(mode="before")
    @classmethod
    def _short_distillation(cls, value: Any) -> Any:
        if not isinstance(value, dict) or "distillation" not in value:
            return value
        if "losses" in value:
            raise ValueError("give either 'distillation' or 'losses' with a weight for 'teacher'")
        rest = {key: content for key, content in value.items() if key != "distillation"}
        return {**rest, "losses": {"psnr": 1, "teacher": value["distillation"]}}


class PublishedConfig(Strict):
    """A paper's ratios of after to before, which the report sets beside those that a run finds."""

    source: str = Field(min_length=1)
    latency: float | None = Field(default=None, gt=0)
    memory: float | None = Field(default=None, gt=0)
    parameters: float | None = Field(default=None, gt=0)
    psnr: float | None = Field(default=None, gt=0)


class PipelineConfig(Strict):
    """`graphopt run`: from a pretrained network to a faster one. Relative paths are relative to the file."""

    model: str
    resolution: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(ge=16)]] | None = None
    run: Path | None = Field(
        default=None, description="run folder, relative to where the command is run; runs/NAME by default"
    )
    data: DataConfig
    passes: list[PassSpec] = Field(min_length=1)
    exclude: list[str] = Field(default=[], description="globs of site names that are left alone, e.g. 'middle_blks*'")
    targets: dict[str, Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="weights in the search; a target of weight 0 is priced and compiled for only"
    )
    trials: int = Field(default=16, ge=0, description="MetaSchedule trials for each network on the host")
    threads: int | None = Field(default=None, ge=1)
    search: SearchConfig = SearchConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    published: PublishedConfig | None = Field(default=None, description="a paper's ratios, for the report")

    @model_validator(mode="after")
    def _some_target(self) -> PipelineConfig:
        if not any(self.targets.values()):
            raise ValueError("'targets': at least one target needs a weight above 0")
        return self


ConfigT = TypeVar("ConfigT", bound=Strict)


class _UniqueKeys(yaml.SafeLoader):
    """Refuses a key that is given twice: PyYAML would keep the last one, and say nothing."""

    def compose_mapping_node(self, anchor: dict[Any, yaml.Node]) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                line, name = key.start_mark.line + 1, (key.tag, key.value)
                if name in lines:
                    twice = f"key '{key.value}' is given twice, here and in line {lines[name]}"
                    raise GraphoptError(f"line {line}: {twice}; keep one of them")
                lines[name] = line
        return node


def read_config(path: Path, kind: type[ConfigT]) -> ConfigT:
    """Reads and checks a YAML file; every mistake in it becomes one message."""
    try:
        content = yaml.load(path.read_text(), _UniqueKeys)
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
    return validate(content, kind, path)


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
