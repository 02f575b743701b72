from __future__ import annotations

import gzip
import io
import pickle
import struct
import zipfile
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from safetensors.numpy import save as save_safetensors

from service.sniff import check_data, check_model
from sosp_core.data.read import read_arrays
from sosp_core.errors import (
    BundleUnreadable,
    DataEmpty,
    DataError,
    DataUnreadable,
    ExternalDataMissing,
    ModelError,
    ModelNotOnnx,
)
from tests.live import field_bytes, model_bytes, npy_bytes, npz_bytes, varint, zip_bytes

LIMIT = 10**6


def real_model() -> bytes:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
    model: bytes = helper.make_model(graph, producer_name="test").SerializeToString()
    return model


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(content)
    return path


def test_a_model_is_a_model(tmp_path: Path) -> None:
    assert check_model(written(tmp_path, real_model())) == "onnx"
    assert check_model(written(tmp_path, model_bytes())) == "onnx"


def test_every_cut_of_a_model_is_refused(tmp_path: Path) -> None:
    whole = real_model()
    graph_end = len(whole) - len(onnx.load_from_string(whole).opset_import[0].SerializeToString()) - 2
    for length in range(1, graph_end):
        with pytest.raises(ModelNotOnnx):
            check_model(written(tmp_path, whole[:length]))


def model_with_weights_outside(weights: Path) -> bytes:
    w = numpy_helper.from_array(np.ones(3, np.float32), "w")
    model = onnx.load_from_string(real_model())
    model.graph.initializer.append(w)
    inside = bytes(model.SerializeToString())
    onnx.save(
        model,
        weights.with_suffix(".onnx"),
        save_as_external_data=True,
        location=weights.name,
        size_threshold=0,
    )
    outside = weights.with_suffix(".onnx").read_bytes()
    assert check_model(written(weights.parent, inside)) == "onnx"
    return outside


def test_a_model_without_its_weights_is_told_to_come_as_a_bundle(tmp_path: Path) -> None:
    outside = model_with_weights_outside(tmp_path / "weights.bin")
    with pytest.raises(ExternalDataMissing, match=r"upload a \.zip") as caught:
        check_model(written(tmp_path, outside))
    assert (caught.value.tensor, caught.value.path) == ("w", "weights.bin")


def test_a_bundle_of_model_and_weights_is_accepted(tmp_path: Path) -> None:
    outside = model_with_weights_outside(tmp_path / "weights.bin")
    weights = (tmp_path / "weights.bin").read_bytes()
    assert check_model(written(tmp_path, zip_bytes({"m.onnx": outside, "weights.bin": weights}))) == "zip"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zip_bytes({}), "holds none"),
        (npz_bytes(), "holds none"),
        (zip_bytes({"a.onnx": b"x", "b.onnx": b"y"}), "holds 2"),
        (zip_bytes({"../a.onnx": b"x"}), "unsafe"),
        (zip_bytes({"a.onnx": b"x"})[:-4], "truncated"),
    ],
)
def test_an_archive_that_is_no_bundle_says_why(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(BundleUnreadable, match=reason):
        check_model(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (gzip.compress(b"x"), "gzip"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b'{"model": 1}', "JSON"),
        (pickle.dumps([1]), "pickle"),
        (b"\x1c\x00\x00\x00TFL3" + bytes(20), "TensorFlow Lite"),
        (b"--boundary\r\nContent-Disposition: form-data\r\n", "multipart"),
        (npy_bytes(), "NumPy"),
        (b"\x08\x08", "no graph"),
        (field_bytes(7, b"\x12\x01g"), "no ir_version"),
        (model_bytes() + b"\x00", "begin a field"),
        (model_bytes() + b"trailing garbage", "begin a field"),
        (b"\x08" + b"\xff" * 11, "begin a number"),
        (b"\x08\x08" + varint(7 << 3 | 2) + varint(2**62), "truncated"),
        (b"\x3b" * 10, "begin a field"),
    ],
)
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(ModelNotOnnx) as caught:
        check_model(written(tmp_path, content))
    assert reason in caught.value.reason


def test_data_of_every_format_is_recognised(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"x": np.zeros((4, 2), "float32"), "labels": np.arange(4)}
    buffers = {name: io.BytesIO() for name in ("npz", "compressed", "npy")}
    np.savez(buffers["npz"], **arrays)
    np.savez_compressed(buffers["compressed"], **arrays)
    np.save(buffers["npy"], arrays["x"])
    files = {
        "npz": buffers["npz"].getvalue(),
        "npy": buffers["npy"].getvalue(),
        "safetensors": save_safetensors(arrays),
        "zip": zip_bytes({"cats/1.png": b"\x89PNG", "dogs/2.jpg": b"\xff\xd8"}),
    }
    for format, content in files.items():
        assert check_data(written(tmp_path, content), LIMIT) == format
    assert check_data(written(tmp_path, buffers["compressed"].getvalue()), LIMIT) == "npz"


@pytest.mark.parametrize(
    "names",
    [
        ["photos/a.png", "photos/preprocess.json", "__MACOSX/photos/._a.png", "photos/.DS_Store"],
        ["x.npy", "__MACOSX/._x.npy"],
        ["X.NPY"],
        ["a.tif"],
        ["cat/a.png", "dog/b.gif"],
        ["cat/a.png", "dog/b.png", "dog/preprocess.json"],
        ["a.png", "x.npy"],
        ["readme.txt"],
        ["__MACOSX/._a.png", "readme.txt"],
    ],
    ids=str,
)
def test_an_archive_is_judged_as_the_job_reads_it(names: list[str], tmp_path: Path) -> None:
    image = io.BytesIO()
    Image.new("RGB", (2, 2)).save(image, "PNG")
    content = {".png": image.getvalue(), ".npy": npy_bytes(), ".json": b"{}"}
    packed = zip_bytes({name: content.get(Path(name).suffix, b"x") for name in names})
    verdicts = []
    for judge in (partial(check_data, max_unpacked=LIMIT), read_arrays):
        try:
            judge(written(tmp_path, packed))
            verdicts.append(None)
        except DataUnreadable as error:
            verdicts.append(error.reason)
    at_upload, in_job = verdicts
    assert (at_upload is None) == (in_job is None), verdicts
    assert at_upload == in_job or "neither arrays" in at_upload


def object_npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.array([{"a": 1}], dtype=object))
    return buffer.getvalue()


def broken_safetensors(header: bytes, rest: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + rest


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"random bytes, nothing else", "no known format"),
        (pickle.dumps({"x": 1}), "pickle"),
        (object_npz(), "never unpickled"),
        (npy_bytes("|O", (1,), pickle.dumps(1)), "never unpickled"),
        (npy_bytes("<U4", (2,)), "numbers are needed"),
        (npy_bytes()[:-1], "its header says"),
        (npy_bytes() + b"x", "its header says"),
        (npy_bytes(shape=(2**40, 2**20), values=b""), "its header says"),
        (npy_bytes(shape=(-1,), values=b""), "not a tuple of sizes"),
        (b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 9000, "cut short or too long"),
        (b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"(" * 9000, "not a literal"),
        (b"\x93NUMPY\x02\x00" + (2**31).to_bytes(4, "little"), "cut short or too long"),
        (b"\x93NUMPY\x01\x00\x03\x00{1}", "lacks"),
        (zip_bytes({"x.npy": b"no array"}), "no NumPy header"),
        (zip_bytes({"readme.txt": b"x"}), "neither arrays"),
        (zip_bytes({"a.png": b"x", "b.tif": b"x"}), "image 'b.tif'"),
        (zip_bytes({"a/x.png": b"x", "b/y.png": b"x", "b/preprocess.json": b"{}"}), "'b/preprocess.json'"),
        (zip_bytes({"x.npy": npy_bytes(), "y.png": b"x"}), "neither arrays"),
        (zip_bytes({"../x.png": b"x"}), "unsafe name"),
        (zip_bytes({"/x.png": b"x"}), "unsafe name"),
        (zip_bytes({"x.npy": npy_bytes()}, zipfile.ZIP_LZMA), "neither stored nor deflated"),
        (zip_bytes({"x.png": bytes(LIMIT + 1)}, zipfile.ZIP_DEFLATED), "unpacks to"),
        (npz_bytes()[:-10], "truncated"),
        (npz_bytes()[:40], "truncated"),
        (broken_safetensors(b"{]"), "header is broken"),
        (broken_safetensors(b'{"x": {"shape": [1], "data_offsets": [0, 4]}}', b"123"), "cut short"),
        (broken_safetensors(b'{"x": 1}'), "header is broken"),
    ],
)
def test_what_is_no_data_is_named(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(DataUnreadable) as caught:
        check_data(written(tmp_path, content), LIMIT)
    assert reason in caught.value.reason


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (npy_bytes(shape=(0, 3)), "(array)"),
        (zip_bytes({"x.npy": npy_bytes(), "y.npy": npy_bytes(shape=(0, 3))}), "y"),
        (zip_bytes({}), "(archive)"),
        (broken_safetensors(b'{"x": {"shape": [0, 2], "data_offsets": [0, 0]}}'), "x"),
        (broken_safetensors(b"{}"), "(file)"),
    ],
)
def test_data_without_samples_is_named(tmp_path: Path, content: bytes, field: str) -> None:
    with pytest.raises(DataEmpty) as caught:
        check_data(written(tmp_path, content), LIMIT)
    assert caught.value.field == field


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", npy_bytes())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("x.npy", npy_bytes())
    with pytest.raises(DataUnreadable, match="same name"):
        check_data(path, LIMIT)


def test_a_directory_that_is_a_bomb_is_not_read(tmp_path: Path) -> None:
    content = bytearray(npz_bytes())
    struct.pack_into("<I", content, len(content) - 22 + 12, 2**31)
    with pytest.raises(DataUnreadable, match="directory"):
        check_data(written(tmp_path, bytes(content)), LIMIT)


@settings(max_examples=300)
@given(
    data=st.data(),
    start=st.sampled_from([npz_bytes(), npy_bytes(), model_bytes(), real_model(), b"PK\x03\x04", b""]),
)
def test_damage_of_any_kind_is_an_explained_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, start: bytes
) -> None:
    content = bytearray(start)
    for _ in range(data.draw(st.integers(1, 4))):
        if content and data.draw(st.booleans()):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        else:
            content += data.draw(st.binary(max_size=8))
    path = written(tmp_path_factory.getbasetemp(), bytes(content))
    with suppress(DataError):
        check_data(path, LIMIT)
    with suppress(ModelError):
        check_model(path)
