"""The command line: quick help, valid JSON, and one line for each mistake."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Call
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skimage.metrics import peak_signal_noise_ratio

from graphopt.train.data import Gaussian, open_photographs, pairs_of


@pytest.fixture
def halver(tmp_path: Path) -> Path:
    """x -> 0.5 x + 0.25, as a 1x1 convolution at 16x16."""
    weight = np.eye(3, dtype=np.float32)[:, :, None, None] * np.float32(0.5)
    shape = [1, 3, 16, 16]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"])],
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.full(3, 0.25, np.float32), "b")],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "half.onnx"
    )
    return tmp_path / "half.onnx"


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 256, (21, 34, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed}.png")
    return folder


def test_help_answers_at_once() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "graphopt.cli", "--help"], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
    for command in ("run", "pretrain", "evaluate", "denoise", "cost", "explain", "passes", "targets", "models"):
        assert command in done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["passes", "list"], ["targets", "list"], ["models", "list"]])
def test_what_is_light_imports_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys; from graphopt.cli import app; app(sys.argv[1:], standalone_mode=False);"
        "print('\\nHEAVY', sorted({name.split('.')[0] for name in sys.modules} & {'torch', 'tvm', 'onnxruntime'}))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "HEAVY []"


def test_no_arguments_print_the_help(call: Call) -> None:
    status, out, err = call()
    assert status == 2
    assert "Usage" in out + err


def test_passes_as_json(call: Call) -> None:
    status, out, err = call("passes", "list", "--json")
    assert (status, err) == (0, "")
    rows = {row["name"]: row for row in json.loads(out)}
    built_in = {path.stem.replace("_", "-") for path in (Path(__file__).parents[2] / "passes").glob("[a-z]*.py")}
    assert built_in <= rows.keys()
    assert {"affine-norm", "static-attention", "fold-affine", "bounded-gate"} <= built_in
    assert rows["affine-norm"]["contract"] == "tuned"
    assert rows["affine-norm"]["stage"] == "search"
    assert all(row.keys() == {"name", "stage", "contract", "options", "summary"} for row in rows.values())
    assert all(row["summary"] and isinstance(row["options"], dict) for row in rows.values())


def test_targets_as_json(call: Call) -> None:
    status, out, _ = call("targets", "list", "--json")
    assert status == 0
    rows = {row["name"]: row for row in json.loads(out)}
    assert {"sm8650-adreno750", "exynos2100-mali-g78", "host-cpu"} <= rows.keys()
    assert rows["host-cpu"]["provenance"] == "measured"
    assert rows["sm8650-adreno750"]["provenance"] == "estimated"
    assert rows["sm8650-adreno750"]["dtype"] == "float16"


def test_models_as_json(call: Call) -> None:
    status, out, _ = call("models", "list", "--json")
    assert status == 0
    (row,) = [row for row in json.loads(out) if row["name"] == "nafnet-width8-sigma25"]
    assert row["sigma"] == [25, 25]
    assert Path(row["path"]).is_file()


@pytest.mark.parametrize("what", ["passes", "targets", "models"])
def test_lists_for_people_name_the_same(what: str, call: Call) -> None:
    names = [row["name"] for row in json.loads(call(what, "list", "--json")[1])]
    status, out, _ = call(what, "list")
    assert status == 0
    assert all(name in out for name in names)


def test_denoise_restores_an_image_of_any_size(call: Call, halver: Path, photographs: Path, tmp_path: Path) -> None:
    status, out, err = call("denoise", photographs / "0.png", tmp_path / "new" / "out.png", "--model", halver)
    assert (status, err) == (0, "")
    assert out.strip() == str(tmp_path / "new" / "out.png")
    source = np.asarray(Image.open(photographs / "0.png")).astype(float)
    found = np.asarray(Image.open(tmp_path / "new" / "out.png"))
    assert found.shape == (21, 34, 3)
    np.testing.assert_allclose(found, 0.5 * source + 0.25 * 255, rtol=0, atol=0.51)


def test_denoise_with_the_shipped_network(call: Call, tmp_path: Path) -> None:
    rows, columns = np.mgrid[:40, :50]
    clean = np.stack([127 + 90 * np.sin(rows / 9) * np.cos(columns / (8 + c)) for c in range(3)], -1)
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(tmp_path / "noisy.png")
    assert call("denoise", tmp_path / "noisy.png", tmp_path / "out.png")[0] == 0
    found = np.asarray(Image.open(tmp_path / "out.png")).astype(float)
    before, after = (peak_signal_noise_ratio(clean, image.astype(float), data_range=255) for image in (noisy, found))
    assert after > before + 3


def test_evaluate_as_json(call: Call, halver: Path, photographs: Path) -> None:
    status, out, err = call("evaluate", "--model", halver, "--data", photographs, "--sigma", 10, "--json")
    assert (status, err) == (0, "")
    found = json.loads(out)
    pairs = pairs_of(open_photographs([photographs]), Gaussian(10, 10))
    restored = [(0.5 * noisy + 0.25, clean) for noisy, clean in pairs]
    expected = np.mean([peak_signal_noise_ratio(clean, np.clip(r, 0, 1), data_range=1) for r, clean in restored])
    assert found["psnr"] == pytest.approx(expected, abs=1e-3)
    assert 0 < found["ssim"] < 1
    assert found["sigma"] == 10
    assert found["provenance"] == "measured"
    assert found["noisy"]["psnr"] == pytest.approx(20 * np.log10(255 / 10), abs=0.5)
    assert call("evaluate", "--model", halver, "--data", photographs, "--sigma", 10, "--json")[1] == out


def test_evaluate_for_people(call: Call, halver: Path, photographs: Path) -> None:
    status, out, _ = call("evaluate", "--model", halver, "--data", photographs)
    assert status == 0
    first, second = out.splitlines()
    assert first.startswith("psnr ")
    assert first.endswith("(measured)")
    assert second.startswith("noisy input: psnr 20.")


def test_cost_as_json(call: Call, halver: Path) -> None:
    status, out, _ = call("cost", halver, "--target", "sm8650-adreno750", "--json")
    assert status == 0
    found = json.loads(out)
    assert list(found) == [
        "target", "latency_ms", "low_ms", "high_ms", "provenance", "macs", "parameters", "peak_memory_bytes", "breakdown",
    ]  # fmt: skip
    assert sum(kernel["ms"] for kernel in found["breakdown"]["kernels"]) == pytest.approx(found["latency_ms"])
    assert 0 < found["breakdown"]["limit_ms"] < found["latency_ms"]
    assert found["breakdown"]["blocks"] == []
    assert (found["target"], found["provenance"]) == ("sm8650-adreno750", "estimated")
    assert (found["macs"], found["parameters"]) == (16 * 16 * 9, 12)
    assert 0 < found["low_ms"] <= found["latency_ms"] <= found["high_ms"]
    both = ("--target", "sm8650-adreno750", "--target", "exynos2100-mali-g78")
    status, out, _ = call("cost", halver, *both, "--resolution", 32, 16, "--json")
    rows = json.loads(out)
    assert [row["target"] for row in rows] == ["sm8650-adreno750", "exynos2100-mali-g78"]
    assert {row["macs"] for row in rows} == {32 * 16 * 9}
    status, out, _ = call("cost", halver, *both[:2])
    assert status == 0
    assert out.startswith("sm8650-adreno750: 0.0")
    assert "(estimated, " in out


def test_cost_broken_down(call: Call, halver: Path) -> None:
    status, out, _ = call("cost", halver, "--target", "sm8650-adreno750", "--breakdown", "--json")
    assert status == 0
    found = json.loads(out)["breakdown"]
    assert [part["name"] for part in found["kinds"]] == ["pointwise"]
    assert len(found["blocks"]) == 1
    assert found["additivity"] == pytest.approx(0, abs=1e-9)
    status, out, _ = call("cost", halver, "--target", "sm8650-adreno750", "--breakdown")
    assert status == 0
    first, *rows = out.splitlines()
    assert "ms at the roofline" in first
    assert rows[0].split()[0] == "kind"
    assert rows[1].split()[:2] == ["pointwise", "1"]
    assert rows[-1].strip() == "the blocks, compiled alone, add up to the network +0.0%"


def test_pretrain_takes_images_and_output_from_the_command_line(call: Call, photographs: Path, tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(
        "model: {width: 4, encoder_blocks: [1], middle_blocks: 0, decoder_blocks: [1]}\n"
        "images: [nowhere]\noutput: unused.safetensors\nsteps: 2\nsmall: [1, 16]\nlarge: [1, 16]\nthreads: 1\n"
    )
    status, out, _ = call("pretrain", "train.yaml", "--images", photographs, "--output", tmp_path / "w.safetensors")
    assert status == 0
    assert out.strip() == f"weights: {tmp_path / 'w.safetensors'}"
    assert call("evaluate", "--model", "w.safetensors", "--data", photographs)[0] == 0


def test_photographs_from_the_command_line_leave_the_noise_of_the_file(
    call: Call, photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("graphopt.train.commands.pretrain_to_file", lambda config, report: seen.append(config.source))
    (tmp_path / "train.yaml").write_text(
        "data: {train: [nowhere], sigma: [10, 55], mixup: 1.2, vary: false}\noutput: unused.safetensors\nsteps: 2\n"
    )
    assert call("pretrain", "train.yaml", "--images", photographs)[0] == 0
    (source,) = seen
    assert (source.train, source.sigma, source.mixup, source.vary) == ([photographs], (10, 55), 1.2, False)


MISTAKES: list[tuple[list[Any], str]] = [
    (["cost", "nafnet-width", "--target", "host-cpu"], "unknown model 'nafnet-width'; did you mean"),
    (["cost", "half.onnx", "--target", "host-cpo"], "target 'host-cpo' is not known; did you mean 'host-cpu'?"),
    (["cost", "half.onnx", "--target", "gone.yaml"], "config gone.yaml does not exist"),
    (["cost", "gone.onnx", "--target", "host-cpu"], "gone.onnx does not exist"),
    (["cost", "half.onnx", "--target", "host-cpu", "--resolution", 0, 0], "resolution 0x0 is too small"),
    (["denoise", "gone.png", "out.png"], "image gone.png does not exist"),
    (["denoise", "photographs/0.png", "out.txt"], "cannot write out.txt"),
    (["denoise", "photographs/0.png", "half.onnx/out.png"], "image half.onnx/out.png cannot be written"),
    (["denoise", "half.onnx", "out.png"], "image half.onnx cannot be read"),
    (["denoise", "photographs/0.png", "out.png", "--model", "text.pth"], "text.pth cannot be read as weights"),
    (["denoise", "photographs/0.png", "out.png", "--model", "text.onnx"], "text.onnx is not a valid ONNX file"),
    (["evaluate", "--model", "half.onnx", "--data", "gone"], "image folder gone does not exist"),
    (["evaluate", "--model", "half.onnx", "--data", "empty"], "image folder empty holds no images"),
    (["evaluate", "--model", "half.onnx", "--data", "small"], "SSIM needs images of 11x11 or more, found one of 5x40"),
    (["pretrain", "gone.yaml"], "config gone.yaml does not exist"),
    (["pretrain", "wrong.yaml"], "unknown key 'widht'"),
    (["run", "gone.yaml"], "config gone.yaml does not exist"),
    (["run", "wrong.yaml"], "unknown key 'widht'"),
]


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=lambda value: " ".join(map(str, value))[:50])
@pytest.mark.usefixtures("halver", "photographs")
def test_a_mistake_is_one_line(arguments: list[Any], expected: str, call: Call, tmp_path: Path) -> None:
    for name in ("text.pth", "text.onnx"):
        (tmp_path / name).write_text("words")
    (tmp_path / "wrong.yaml").write_text("widht: 8\n")
    (tmp_path / "empty").mkdir()
    (tmp_path / "small").mkdir()
    Image.fromarray(np.zeros((5, 40, 3), np.uint8)).save(tmp_path / "small" / "a.png")
    status, out, err = call(*arguments)
    assert status == 1
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert expected in err
    assert not (tmp_path / "out.png").exists()


def test_a_negative_sigma_is_refused(call: Call, halver: Path, photographs: Path) -> None:
    status, _, err = call("evaluate", "--model", halver, "--data", photographs, "--sigma=-3")
    assert status == 2
    assert "--sigma" in err


def test_a_mistake_leaves_no_trace_of_python(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graphopt.cli", "cost", "gone.onnx", "--target", "host-cpu"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "GRAPHOPT_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    known = "nafnet-width16, nafnet-width16-adreno750, nafnet-width16-hexagon"
    assert done.stderr.startswith(f"error: model gone.onnx does not exist; known: {known}")
    assert done.stderr.endswith("(shipped networks)\n")
    assert done.stderr.count("\n") == 1
