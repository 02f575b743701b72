from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from sosp_core.errors import (
    BundleUnreadable,
    ExternalDataMissing,
    ExternalDataUnsafe,
    ModelTooLarge,
    SospError,
)
from sosp_core.ir.load import Limits, load_model
from sosp_core.ir.save import save_model
from tests.live import zip_bytes

W = np.arange(12, dtype=np.float32).reshape(4, 3)


def external(location: str, **told: str) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=W.shape)
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **told}.items():
        tensor.external_data.add(key=key, value=value)
    return tensor


def model(weight: onnx.TensorProto) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def content(location: str = "weights.bin", **told: str) -> bytes:
    return bytes(model(external(location, **told)).SerializeToString())


def placed(folder: Path, location: str = "weights.bin", data: bytes = W.tobytes(), **told: str) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(content(location, **told))
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    (folder / location).write_bytes(data)
    return path


def weight(source: Path | bytes) -> np.ndarray:
    value = load_model(source).graph.initializers["w"].const_value
    assert value is not None
    return value.numpy()


@pytest.mark.parametrize("location", ["weights.bin", "data/part 1/weights.bin"])
def test_weights_beside_the_file_are_read(tmp_path: Path, location: str) -> None:
    np.testing.assert_array_equal(weight(placed(tmp_path, location)), W)


def test_offset_and_length_pick_a_part(tmp_path: Path) -> None:
    path = placed(tmp_path, data=b"head" + W.tobytes() + b"tail", offset="4", length="48")
    np.testing.assert_array_equal(weight(path), W)


def test_a_constant_of_a_node_may_lie_outside(tmp_path: Path) -> None:
    proto = model(numpy_helper.from_array(W, "unused"))
    proto.graph.node.insert(0, helper.make_node("Constant", [], ["w"], value=external("weights.bin")))
    (tmp_path / "weights.bin").write_bytes(W.tobytes())
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    constant = next(iter(load_model(tmp_path / "model.onnx").graph)).attributes["value"]
    np.testing.assert_array_equal(constant.as_tensor().numpy(), W)


def test_bytes_alone_say_what_to_hand_in() -> None:
    with pytest.raises(ExternalDataMissing, match=r"a \.zip of the model and its data files") as caught:
        load_model(content())
    assert (caught.value.tensor, caught.value.path) == ("w", "weights.bin")


@pytest.mark.parametrize(
    "location",
    ["../weights.bin", "a/../../w", "/etc/passwd", "C:\\w", "a\\..\\w", "\\\\host\\w", "", ".", "w\0"],
)
def test_paths_out_of_the_folder_are_refused(tmp_path: Path, location: str) -> None:
    (tmp_path / "model.onnx").write_bytes(content(location))
    with pytest.raises(ExternalDataUnsafe) as caught:
        load_model(tmp_path / "model.onnx")
    assert (caught.value.tensor, caught.value.path) == ("w", location)


@pytest.mark.parametrize("link", ["weights.bin", "folder"])
def test_links_are_not_followed(tmp_path: Path, link: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "weights.bin").write_bytes(W.tobytes())
    (tmp_path / "model.onnx").write_bytes(
        content("weights.bin" if link != "folder" else "folder/weights.bin")
    )
    target = "elsewhere" if link == "folder" else "elsewhere/weights.bin"
    (tmp_path / link).symlink_to(tmp_path / target)
    with pytest.raises(ExternalDataUnsafe):
        load_model(tmp_path / "model.onnx")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content())
    os.mkfifo(tmp_path / "weights.bin")
    with pytest.raises(ExternalDataMissing, match="not a file"):
        load_model(tmp_path / "model.onnx")


@pytest.mark.parametrize(
    ("told", "data", "reason"),
    [
        ({}, W.tobytes()[:-1], "47 bytes"),
        ({}, b"", "0 bytes"),
        ({"offset": "4"}, W.tobytes(), "ends at byte 52"),
        ({"offset": "-4"}, W.tobytes(), "offset '-4'"),
        ({"offset": "9" * 400}, W.tobytes(), "is no number"),
        ({"length": "12"}, W.tobytes(), "needs 48 bytes"),
    ],
    ids=["short", "empty", "offset", "negative", "huge", "length"],
)
def test_a_weight_that_does_not_fit_its_file_is_named(
    tmp_path: Path, told: dict[str, str], data: bytes, reason: str
) -> None:
    with pytest.raises(ExternalDataMissing, match=reason):
        load_model(placed(tmp_path, data=data, **told))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(content())
    with pytest.raises(ExternalDataMissing, match=r"'weights\.bin'.*No such file"):
        load_model(tmp_path / "model.onnx")


def test_weights_beyond_the_limit_are_refused_before_they_are_read() -> None:
    with pytest.raises(ModelTooLarge):
        load_model(content(), Limits(unpacked_bytes=40))


BUNDLE = {"net/model.onnx": content(), "net/weights.bin": W.tobytes()}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_bundle_is_read_as_bytes_and_as_a_file(tmp_path: Path, method: int) -> None:
    bundle = zip_bytes({"__MACOSX/net/._model.onnx": b"x", "net/._model.onnx": b"x", **BUNDLE}, method)
    (tmp_path / "bundle.zip").write_bytes(bundle)
    np.testing.assert_array_equal(weight(bundle), W)
    np.testing.assert_array_equal(weight(tmp_path / "bundle.zip"), W)


def test_a_bundle_may_hold_a_model_alone() -> None:
    np.testing.assert_array_equal(
        weight(zip_bytes({"m.onnx": model(numpy_helper.from_array(W, "w")).SerializeToString()})), W
    )


def linked() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.onnx", content())
        info = zipfile.ZipInfo("weights.bin")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [
        (zip_bytes({}), "holds none"),
        (zip_bytes({"weights.bin": b"x"}), "holds none"),
        (zip_bytes({"a.onnx": b"x", "b.onnx": b"x"}), "holds 2"),
        (zip_bytes({"../m.onnx": content()}), "unsafe name"),
        (zip_bytes({"/m.onnx": content()}), "unsafe name"),
        (zip_bytes({"m.onnx": content(), "./m.onnx": content()}), "two files"),
        (zip_bytes({"m.onnx": content()}, zipfile.ZIP_BZIP2), "neither stored nor deflated"),
        (zip_bytes(BUNDLE)[:-30], "broken"),
        (zip_bytes(BUNDLE).replace(W.tobytes(), bytes(48)), "broken"),
        (linked(), "a link"),
    ],
    ids=["empty", "no_model", "two_models", "up", "root", "twice", "bzip2", "cut", "damaged", "link"],
)
def test_an_unusable_bundle_says_why(bundle: bytes, reason: str) -> None:
    with pytest.raises(BundleUnreadable, match=reason):
        load_model(bundle)


def test_a_bundle_that_expands_too_far_is_refused_unread() -> None:
    bomb = zip_bytes({"m.onnx": content(), "weights.bin": bytes(10**6)}, zipfile.ZIP_DEFLATED)
    with pytest.raises(BundleUnreadable, match="unpacks to"):
        load_model(bomb, Limits(unpacked_bytes=10**5))


def test_a_file_missing_in_the_bundle_is_named() -> None:
    with pytest.raises(ExternalDataMissing, match="in the archive"):
        load_model(zip_bytes({"model.onnx": content(), "other/weights.bin": W.tobytes()}))


def test_every_cut_of_a_bundle_is_a_typed_error() -> None:
    bundle = zip_bytes(BUNDLE, zipfile.ZIP_DEFLATED)
    for length in range(4, len(bundle), 7):
        with pytest.raises(SospError):
            load_model(bundle[:length])


def test_a_small_model_is_saved_as_one_file(tmp_path: Path) -> None:
    made = save_model(load_model(placed(tmp_path)), tmp_path / "out" / "slim.onnx")
    assert made == [tmp_path / "out" / "slim.onnx"]
    np.testing.assert_array_equal(weight(made[0].read_bytes()), W)


def test_a_large_model_is_saved_with_its_weights_beside_it(tmp_path: Path) -> None:
    made = save_model(load_model(placed(tmp_path)), tmp_path / "out" / "slim.onnx", one_file_below=40)
    assert [path.name for path in made] == ["slim.onnx", "slim.onnx.data"]
    np.testing.assert_array_equal(weight(made[0]), W)
    onnx.checker.check_model(str(made[0]), full_check=True)
