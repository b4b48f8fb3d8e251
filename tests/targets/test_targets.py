from pathlib import Path
from typing import Any

import pytest
import yaml

from graphopt.backends.registry import backend_class
from graphopt.backends.targets import list_targets, load_target
from graphopt.cost.target import UNITS
from graphopt.errors import GraphoptError

BUILT_IN = [
    "android-litert-gpu",
    "android-mnn",
    "android-onnxruntime",
    "dimensity9300-mali-g720",
    "exynos2100-mali-g78",
    "host-litert",
    "host-mnn",
    "host-onnxruntime",
    "host-tvm",
    "mali-g57-mc2",
    "rk3399-mali-t860",
    "rk3588-mali-g610",
    "sm8350-adreno660",
    "sm8550-adreno740",
    "sm8650-adreno750",
    "sm8650-hexagon",
    "tensor-g2-mali-g710",
    "tensor-g3-mali-g715",
    "tophub-adreno",
]
MEASURED = [name for name in BUILT_IN if name.startswith(("host-", "android-"))]
GPUS = [name for name in BUILT_IN if name not in (*MEASURED, "sm8650-hexagon")]


def write(folder: Path, name: str, change: Any) -> str:
    """A built-in target's YAML after `change`, as a file of the user's own."""
    source = Path(__file__).parents[2] / "targets" / f"{name}.yaml"
    content = yaml.safe_load(source.read_text())
    change(content)
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(content))
    return str(path)


def test_built_in_targets_are_listed_by_name() -> None:
    assert [target.name for target in list_targets()] == BUILT_IN


def test_provenance_follows_the_kind() -> None:
    found = {target.name: backend_class(target.kind).provenance for target in list_targets()}
    assert found == {**dict.fromkeys(BUILT_IN, "estimated"), **dict.fromkeys(MEASURED, "measured")}


@pytest.mark.parametrize("name", GPUS)
def test_every_fact_has_unit_and_source(name: str) -> None:
    target = load_target(name)
    assert set(target.facts) | {"on_chip_memory"} == set(UNITS)
    assert target.kernel_model is not None
    model = target.kernel_model
    parameters = [*model.efficiency.values(), model.half_share, model.cache_load, model.overlap, model.spread]
    assert all(fact.unit == UNITS[key] for key, fact in target.facts.items())
    assert all(len(fact.source) > 20 for fact in [*target.facts.values(), *parameters, model.buffer_share])


@pytest.mark.parametrize(
    ("name", "origin"), [(name, "tophub-adreno" if "adreno" in name else "rk3399-mali-t860") for name in GPUS]
)
def test_what_is_carried_over_is_what_was_fitted(name: str, origin: str) -> None:
    target, fitted = load_target(name), load_target(origin)
    assert target.device == fitted.device
    assert target.kernel_model is not None
    assert fitted.kernel_model is not None
    ours, theirs = target.kernel_model, fitted.kernel_model
    assert {k: f.value for k, f in ours.efficiency.items()} == {k: f.value for k, f in theirs.efficiency.items()}
    for parameter in ("half_share", "cache_load", "overlap", "buffer_share"):
        assert getattr(ours, parameter).value == getattr(theirs, parameter).value
    assert ours.spread.value >= theirs.spread.value


def test_published_figures() -> None:
    adreno, mali = load_target("sm8650-adreno750"), load_target("exynos2100-mali-g78")
    assert (adreno.fact("fp32_peak"), adreno.peak_gflops, adreno.fact("dram_bandwidth")) == (3072, 6144, 76.8)
    assert (mali.fact("fp32_peak"), mali.peak_gflops, mali.fact("dram_bandwidth")) == (681, 1362, 51.2)
    assert adreno.bytes_per_element == 2
    assert load_target("host-tvm").bytes_per_element == 4


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(GraphoptError, match=r"'sm8650-adreno' is not known; did you mean 'sm8650-adreno750'\?"):
        load_target("sm8650-adreno")


def test_a_file_of_the_users_own(tmp_path: Path) -> None:
    path = write(tmp_path, "sm8650-adreno750", lambda content: content.update(name="mine", precision="fp32"))
    target = load_target(path)
    assert (target.name, target.peak_gflops, target.bytes_per_element) == ("mine", 3072, 4)


def test_missing_file() -> None:
    with pytest.raises(GraphoptError, match=r"nowhere\.yaml does not exist"):
        load_target("nowhere.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["facts"]["fp32_peak"].pop("source"), r"'facts\.fp32_peak\.source' is missing"),
        (lambda c: c["facts"]["fp32_peak"].update(unit="TFLOPS"), "given in 'TFLOPS', expected 'GFLOPS'"),
        (lambda c: c["facts"].pop("launch_overhead"), "needs the facts launch_overhead"),
        (lambda c: c["facts"].update(fp23_peak=c["facts"]["fp32_peak"]), "unknown fact 'fp23_peak'; did you mean"),
        (lambda c: c["facts"]["dram_share"].update(value=0), "above 0: dram_share"),
        (lambda c: c["kernel_model"]["efficiency"].pop("conv"), r"share in \(0, 1\] for 'conv'"),
        (lambda c: c["kernel_model"]["efficiency"]["conv"].update(value=1.5), r"share in \(0, 1\] for 'conv'"),
        (lambda c: c["kernel_model"]["spread"].update(value=0.5), "'spread' is a factor and at least 1"),
        (lambda c: c["kernel_model"]["overlap"].update(value=0.5), "'overlap' is an exponent and at least 1"),
        (lambda c: c["kernel_model"]["half_share"].update(value=1.5), r"'half_share' is a share in \(0, 1\]"),
        (lambda c: c.pop("kernel_model"), "an opencl target has 'kernel_model'"),
        (lambda c: c.update(devise="mali"), "unknown key 'devise'; did you mean 'device'"),
        (lambda c: c.update(device="cpu"), "adreno or mali"),
        (lambda c: c.pop("kind"), "mine.yaml: key 'kind' is missing; it says which backend runs networks there"),
        (lambda c: c.update(kind="opencll"), "key 'kind': no backend is called 'opencll'; did you mean 'opencl'"),
        (lambda c: c.update(kind="cuda"), "no backend is called 'cuda'; known: .*llvm, .*opencl, qnn"),
        (lambda c: c.update(kind=3), "no backend is called '3'"),
        (lambda c: c.update(kind="llvm"), "an llvm target has 'tuning'"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, change: Any, message: str) -> None:
    with pytest.raises(GraphoptError, match=message):
        load_target(write(tmp_path, "sm8650-adreno750", change))


def test_the_host_is_tuned_not_modelled(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match="an llvm target has 'tuning'"):
        load_target(write(tmp_path, "host-tvm", lambda content: content.pop("tuning")))


def test_unknown_fact_of_a_target() -> None:
    with pytest.raises(GraphoptError, match="no fact 'launch'"):
        load_target("sm8650-adreno750").fact("launch")


def test_a_target_that_has_another_name_now() -> None:
    with pytest.raises(GraphoptError) as caught:
        load_target("host-cpu")
    assert str(caught.value) == ("target 'host-cpu' is not known; did you mean 'host-onnxruntime' or 'host-tvm'?")
