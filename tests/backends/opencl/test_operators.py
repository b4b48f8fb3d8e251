"""Single operators: what the columns of a CSV mean, the kernels of each template, and `graphopt cost --ops`."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from graphs import Call

from graphopt.backends.opencl.operator_files import read_operators
from graphopt.backends.opencl.operators import Operator, operator_kernels, operator_price
from graphopt.backends.targets import load_target
from graphopt.errors import GraphoptError
from graphopt.kernels.model import price

COLUMNS = ["task", "dtype", "N", "C", "H", "W", "K", "R", "S", "stride_h", "stride_w", "groups"]
TEXTURES = "conv2d_nchwc.image2d,float16,1,6,14,14,10,3,3,2,2,1"
PACKED = "conv2d_nchw_spatial_pack.mali,float32,1,6,14,14,10,3,3,2,2,1"


def write(folder: Path, *rows: str, columns: list[str] = COLUMNS) -> Path:
    path = folder / "ops.csv"
    path.write_text("\n".join([",".join(columns), *rows]) + "\n")
    return path


def operator(folder: Path, row: str, *, macs: int | None = None) -> Operator:
    columns = COLUMNS if macs is None else [*COLUMNS, "macs"]
    return read_operators(write(folder, row if macs is None else f"{row},{macs}", columns=columns))[0][1]


def test_sizes_are_those_of_the_input(tmp_path: Path) -> None:
    found = operator(tmp_path, TEXTURES)
    assert (found.rows, found.columns) == (7, 7)  # ceil(14 / 2): padded
    assert (found.inputs, found.weights, found.outputs) == (6 * 14 * 14, 10 * 6 * 9, 10 * 7 * 7)


@pytest.mark.parametrize(("side", "macs"), [(7, 10 * 6 * 9 * 49), (6, 10 * 6 * 9 * 36), (5, 10 * 6 * 9 * 25)])
def test_macs_tell_the_padding(tmp_path: Path, side: int, macs: int) -> None:
    found = operator(tmp_path, TEXTURES, macs=macs)
    assert (found.rows, found.columns) == (side, side)


def test_kernels_of_a_texture_convolution(tmp_path: Path) -> None:
    image, weights, conv = operator_kernels(operator(tmp_path, TEXTURES), load_target("tophub-adreno"))
    assert image.bytes_read == 2 * 2 * 6 * 14 * 14
    assert weights.bytes_read == 2 * 2 * 10 * 6 * 9
    # channels in blocks of 4, outputs in steps of 4 rows and columns
    assert (conv.channels, conv.rows, conv.columns, conv.stride) == (12, 8, 8, 2)
    assert conv.macs == 12 * 8 * 8 * 8 * 9
    assert (conv.kind, conv.storage, conv.outputs) == ("conv", "texture", 12 * 64)


def test_kernels_of_a_packed_convolution(tmp_path: Path) -> None:
    pack, conv, unpack = operator_kernels(operator(tmp_path, PACKED), load_target("rk3399-mali-t860"))
    assert (pack.bytes_read, unpack.bytes_read) == (4 * 2 * 6 * 14 * 14, 4 * 2 * 10 * 49)
    assert (conv.macs, conv.outputs, conv.storage) == (10 * 49 * 54, 490, "buffer")


@pytest.mark.parametrize(("target", "side", "count"), [("tophub-adreno", 2, 5), ("rk3399-mali-t860", 4, 3)])
def test_winograd_multiplies_less(tmp_path: Path, target: str, side: int, count: int) -> None:
    row = "conv2d_nchw_winograd.x,float16,1,8,20,20,16,3,3,1,1,1"
    *before, product, after = operator_kernels(operator(tmp_path, row), load_target(target))
    points, tiles = (side + 2) ** 2, (20 // side) ** 2
    assert len(before) + 2 == count
    assert (product.kind, product.macs) == ("pointwise", points * tiles * 8 * 16)
    assert (before[-1].kind, before[-1].macs) == ("transform", points * points * tiles * 8)
    assert (after.kind, after.macs) == ("transform", points * 16 * 400)


def test_depthwise_dense_and_buffers(tmp_path: Path) -> None:
    adreno, mali = load_target("tophub-adreno"), load_target("rk3399-mali-t860")
    depthwise = operator(tmp_path, "depthwise_conv2d_nchwc.image2d,float16,1,8,16,16,8,3,3,1,1,8")
    assert [kernel.kind for kernel in operator_kernels(depthwise, adreno)] == [
        "elementwise",
        "elementwise",
        "depthwise",
    ]
    assert [kernel.kind for kernel in operator_kernels(depthwise, mali)] == ["elementwise", "depthwise"]
    assert operator_kernels(depthwise, mali)[1].macs == 8 * 256 * 9
    dense = operator(tmp_path, "dense.mali,float32,1,512,1,1,1000,1,1,1,1,1")
    (kernel,) = operator_kernels(dense, mali)
    assert (kernel.macs, kernel.outputs, kernel.bytes_read) == (512_000, 1000, 4 * (512 + 512_000 + 1000))
    (shared,) = operator_kernels(dense, adreno)
    assert (shared.macs, shared.outputs) == (512_000, 64_000)
    (buffers,) = operator_kernels(operator(tmp_path, "conv2d_nchw.cuda,float16,1,32,1,384,32,1,1,1,1,1"), adreno)
    assert buffers.storage == "buffer"


def test_transposed_convolution(tmp_path: Path) -> None:
    row = "conv2d_transpose_nchwc.image2d,float16,1,8,16,16,12,4,4,2,2,1"
    found = operator(tmp_path, row)
    assert (found.rows, found.columns) == (32, 32)
    kernel = operator_kernels(found, load_target("rk3399-mali-t860"))[1]
    assert kernel.macs == 16 * 16 * 8 * 12 * 16  # each input pixel meets the whole window
    assert (kernel.window_rows, kernel.stride) == (2, 1)


def test_the_price_is_that_of_the_kernels(tmp_path: Path) -> None:
    target = load_target("tophub-adreno")
    wide = operator(tmp_path, TEXTURES.replace("float16", "float32"))
    bounds = [price(k, target.with_precision("fp32")) for k in operator_kernels(wide, target)]
    assert operator_price(wide, target) == pytest.approx([1e3 * sum(b[i] for b in bounds) for i in range(3)])
    assert operator_price(operator(tmp_path, TEXTURES), target)[0] < operator_price(wide, target)[0]


def test_cost_of_operators(call: Call, tmp_path: Path) -> None:
    columns = ["file", *COLUMNS, "us", "gmacs_per_s", "timestamp"]
    source = write(tmp_path, f"a,{TEXTURES},1,2,now", f"b,{PACKED},1,2,then", columns=columns)
    output = tmp_path / "priced.csv"
    status, out, err = call("cost", "--ops", str(source), "--target", "tophub-adreno", "--output", str(output))
    assert (status, err) == (0, "")
    assert out == f"tophub-adreno: 2 operators (estimated) in {output}\n"
    rows = list(csv.DictReader(output.open()))
    assert list(rows[0]) == ["file", *COLUMNS, "timestamp", "us", "low_us", "high_us", "provenance"]
    expected = operator_price(operator(tmp_path, TEXTURES), load_target("tophub-adreno"))
    assert [float(rows[0][name]) for name in ("us", "low_us", "high_us")] == pytest.approx(expected, rel=1e-5)
    assert [(row["file"], row["timestamp"], row["provenance"]) for row in rows] == [
        ("a", "now", "estimated"),
        ("b", "then", "estimated"),
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (TEXTURES.replace(",6,", ",,", 1), r"ops\.csv, row 2, column 'C': ''; expected a positive whole number"),
        (TEXTURES.replace(",6,", ",x6,", 1), "column 'C': 'x6'"),
        (TEXTURES.replace(",6,", ",6.5,", 1), "column 'C': '6.5'"),
        (TEXTURES.replace(",6,", ",nan,", 1), "column 'C': 'nan'"),
        (TEXTURES.replace("float16", "int8"), "column 'dtype': 'int8'; expected float16 or float32"),
        (TEXTURES.replace("conv2d", "pool"), "column 'task': 'pool_nchwc.image2d'; expected a name that starts with"),
        (TEXTURES[:-1] + "4", r"column 'groups': 4; expected a divisor of C \(6\) and of K \(10\)"),
        (TEXTURES[:-4], "column 'stride_w': ''"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    with pytest.raises(GraphoptError, match=message):
        read_operators(write(tmp_path, row))


def test_bad_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(GraphoptError, match=r"ops\.csv: no column dtype, groups; expected task, dtype"):
        read_operators(write(tmp_path, columns=[name for name in COLUMNS if name not in ("dtype", "groups")]))
    with pytest.raises(GraphoptError, match=r"nowhere\.csv cannot be read: No such file"):
        read_operators(tmp_path / "nowhere.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(GraphoptError, match=r"binary\.csv is no CSV file"):
        read_operators(tmp_path / "binary.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ops", "ops.csv", "--target", "tophub-adreno"], "takes one --target, --output OUT.csv, and no network"),
        (
            ["--ops", "ops.csv", "--target", "host-tvm", "--output", "out.csv"],
            "host-tvm has no kernel model to price operators by; expected a GPU target",
        ),
        (["--target", "host-tvm"], "give a network, or --ops FILE.csv with --output OUT.csv"),
        (["--ops", "ops.csv", "--target", "tophub-adreno", "--output", "no/folder/out.csv"], "cannot be written"),
    ],
)
def test_mistakes_of_the_command(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    write(tmp_path, TEXTURES)
    monkeypatch.chdir(tmp_path)
    status, _, err = call("cost", *arguments)
    assert status == 1
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_an_empty_file_has_no_prices(call: Call, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    status, _, _ = call("cost", "--ops", str(write(tmp_path)), "--target", "tophub-adreno", "--output", str(output))
    assert status == 0
    assert output.read_text().startswith("task,dtype")
