"""Every format a data file may have, and every way in which one can be wrong."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file

from sosp_core.data.dataset import Dataset, load_dataset
from sosp_core.data.probe import probe_feeds
from sosp_core.data.read import read_arrays
from sosp_core.errors import (
    DataEmpty,
    DataError,
    DataMismatch,
    DataNotFinite,
    DataTooLarge,
    DataUnreadable,
)
from sosp_core.ir.interface import Interface, Port

FLOAT, INT = np.dtype(np.float32), np.dtype(np.int64)
IMAGE = Port(name="image", dtype=FLOAT, shape=("N", 3, 4, 6))
TOKENS = Port(name="tokens", dtype=INT, shape=("N", 5))
ONE = Interface(inputs=(IMAGE,), outputs=())
TWO = Interface(inputs=(IMAGE, TOKENS), outputs=())
FIXED = Interface(inputs=(Port(name="image", dtype=FLOAT, shape=(4, 3, 4, 6)),), outputs=())


def images(n: int = 6) -> np.ndarray:
    return np.random.default_rng(n).standard_normal((n, 3, 4, 6)).astype(np.float32)


def npz(path: Path, **arrays: np.ndarray) -> Path:
    np.savez(path / "data.npz", **arrays)
    return path / "data.npz"


def written(path: Path, content: bytes) -> Path:
    (path / "data").write_bytes(content)
    return path / "data"


def png(width: int, height: int, value: int = 0, mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (width, height), (value,) * 3 if mode == "RGB" else value).save(file, "PNG")
    return file.getvalue()


def zipped(path: Path, members: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path / "data.zip", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path / "data.zip"


def test_npz_gives_inputs_and_labels_by_name(tmp_path: Path) -> None:
    x, tokens, labels = images(), np.arange(30).reshape(6, 5), np.arange(6) % 2
    found = load_dataset(npz(tmp_path, image=x, tokens=tokens, labels=labels, extra=np.zeros(2)), TWO)
    assert set(found.inputs) == {"image", "tokens"}
    np.testing.assert_array_equal(found.inputs["image"], x)
    np.testing.assert_array_equal(found.inputs["tokens"], tokens)
    assert found.labels is not None
    assert found.labels.tolist() == labels.tolist()
    assert len(found) == 6


def test_a_plain_array_is_the_only_input(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", images())
    found = load_dataset(tmp_path / "data.npy", ONE)
    np.testing.assert_array_equal(found.inputs["image"], images())
    assert found.labels is None


def test_safetensors_are_read_as_npz(tmp_path: Path) -> None:
    save_file({"image": images(), "labels": np.arange(6)}, tmp_path / "data.safetensors")
    found = load_dataset(tmp_path / "data.safetensors", ONE)
    np.testing.assert_array_equal(found.inputs["image"], images())
    assert found.labels is not None


@pytest.mark.parametrize("name", ["data.npz", "data.npy", "data.safetensors"])
def test_the_format_is_told_by_content_not_by_name(name: str, tmp_path: Path) -> None:
    source = npz(tmp_path, image=images())
    (tmp_path / name).write_bytes(source.read_bytes())
    assert len(load_dataset(tmp_path / name, ONE)) == 6


def test_images_in_folders_carry_their_class(tmp_path: Path) -> None:
    settings_ = {"input": "image", "mean": [0, 0, 0], "std": [0.5, 0.5, 0.5]}
    members = {
        "preprocess.json": json.dumps(settings_),
        "dog/a.png": png(6, 4, 255),
        "cat/b.png": png(6, 4, 0),
        "cat/readme.txt": "no image",
    }
    found = load_dataset(zipped(tmp_path, members), ONE)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]  # cat before dog
    assert found.inputs["image"].shape == (2, 3, 4, 6)
    assert found.inputs["image"][:, 0, 0, 0].tolist() == [0.0, 2.0]


def test_images_are_resized_and_laid_out_as_asked(tmp_path: Path) -> None:
    settings_ = {"size": [4, 6], "layout": "NHWC", "color": "L", "mean": [0.0], "std": [1.0], "scale": 1}
    members = {"preprocess.json": json.dumps(settings_), "a.png": png(9, 9, 7), "b.png": png(3, 5, 7)}
    (x,) = read_arrays(zipped(tmp_path, members)).values()
    assert x.shape == (2, 4, 6, 1)
    assert np.unique(x).tolist() == [7.0]


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["a.png", "b.png"], None),
        (["photos/a.png", "photos/b.png"], None),
        (["home/photos/a.png", "home/photos/b.png"], None),
        (["dog/a.png", "cat/b.png"], [0, 1]),
        (["photos/dog/a.png", "photos/cat/b.png"], [0, 1]),
        (["train/cat/a.png", "val/cat/b.png"], None),
        (["train/dog/a.png", "train/cat/b.png", "val/cat/c.png"], [0, 1, 0]),
        (["a.png", "cat/b.png", "dog/c.png"], None),
        (["photos/a.png", "photos/cat/b.png", "photos/dog/c.png"], None),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "others", [[], ["__MACOSX/photos/._a.png", "._b.png", "cat/.DS_Store", "readme.txt"]]
)
def test_the_folder_that_holds_all_images_is_no_class(
    names: list[str], labels: list[int] | None, others: list[str], tmp_path: Path
) -> None:
    packed = zipped(tmp_path, {name: png(6, 4) for name in names} | dict.fromkeys(others, b"\0\5\x16\7"))
    arrays = read_arrays(packed)
    assert len(arrays[""]) == len(names)
    assert (arrays["labels"].tolist() if "labels" in arrays else None) == labels


@pytest.mark.parametrize("folders", [("", ""), ("cat/", "dog/")], ids=["unlabelled", "classes"])
def test_the_preprocessing_in_a_packed_folder_counts(folders: tuple[str, str], tmp_path: Path) -> None:
    members = {f"photos/{folder}{n}.png": png(9, 9) for n, folder in enumerate(folders)}
    packed = zipped(tmp_path, members | {"photos/preprocess.json": '{"input": "image", "size": [4, 6]}'})
    assert read_arrays(packed)["image"].shape == (2, 3, 4, 6)


@pytest.mark.parametrize(
    ("names", "given", "wanted"),
    [
        (["cat/a.png", "dog/b.png"], "cat/preprocess.json", "preprocess.json"),
        (["p/cat/a.png", "p/dog/b.png"], "p/dog/preprocess.json", "p/preprocess.json"),
        (["photos/a.png"], "settings/preprocess.json", "preprocess.json"),
    ],
)
def test_a_preprocessing_elsewhere_is_told_its_place(
    names: list[str], given: str, wanted: str, tmp_path: Path
) -> None:
    with pytest.raises(DataUnreadable) as caught:
        read_arrays(zipped(tmp_path, {name: png(6, 4) for name in names} | {given: "{}"}))
    assert repr(given) in caught.value.reason
    assert repr(wanted) in caught.value.reason


@pytest.mark.parametrize("others", [{}, {"cat/a.png": png(6, 4), "cat/b.png": png(6, 4)}])
def test_images_of_other_formats_are_named_not_left_out(others: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"'dog/1\.GIF' and 1 more"):
        read_arrays(zipped(tmp_path, {**others, "dog/1.GIF": b"GIF89a", "dog/2.heic": b"x"}))


def test_images_and_arrays_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match="nothing else"):
        read_arrays(zipped(tmp_path, {"a.png": png(6, 4), "x.npy": b""}))


def test_arrays_packed_by_macos_are_read(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, images())
    members = {"image.npy": file.getvalue(), "__MACOSX/._image.npy": b"\0\5\x16\7", ".DS_Store": b"x"}
    assert list(read_arrays(zipped(tmp_path, members))) == ["image"]


def test_the_standard_normalisation_is_that_of_imagenet(tmp_path: Path) -> None:
    (x,) = read_arrays(zipped(tmp_path, {"a.png": png(6, 4, 255)})).values()
    np.testing.assert_allclose(
        x[0, :, 0, 0], (1 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], 1e-6
    )


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_another_width_of_the_same_kind_is_cast(dtype: type, tmp_path: Path) -> None:
    found = load_dataset(npz(tmp_path, image=images().astype(dtype)), ONE)
    assert found.inputs["image"].dtype == np.float32


@pytest.mark.parametrize(
    ("array", "got"),
    [
        (images()[:, 0], "float32[6, 4, 6]"),
        (images()[:, :, :3], "float32[6, 3, 3, 6]"),
        (images().astype(np.int32), "int32[6, 3, 4, 6]"),
        (np.full((6, 3, 4, 6), "text"), "<U4[6, 3, 4, 6]"),
        (np.float32(3.0), "float32[]"),
    ],
    ids=["rank", "shape", "integers", "strings", "scalar"],
)
def test_an_array_that_does_not_fit_is_described(array: np.ndarray, got: str, tmp_path: Path) -> None:
    with pytest.raises(DataMismatch) as caught:
        load_dataset(npz(tmp_path, image=array), ONE)
    assert caught.value.details() == {"field": "image", "expected": "float32[N, 3, 4, 6]", "got": got}


def test_a_fixed_first_axis_is_no_shape_of_a_sample(tmp_path: Path) -> None:
    weights = Port(name="weights", dtype=FLOAT, shape=(4,))
    ports = Interface(inputs=(IMAGE, weights), outputs=())
    found = []
    for array in (np.zeros((6, 4), np.float32), np.zeros(4, np.float32)):
        with pytest.raises(DataMismatch) as caught:
            load_dataset(npz(tmp_path, image=images(), weights=array), ports)
        found.append((caught.value.expected, caught.value.got))
    assert found == [
        ("float32[N]", "float32[6, 4]"),
        ("6 samples as 'image', along the first axis", "float32[4]"),
    ]


def test_a_missing_array_is_told_with_those_present(tmp_path: Path) -> None:
    with pytest.raises(DataMismatch) as caught:
        load_dataset(npz(tmp_path, image=images(), picture=images()), TWO)
    assert caught.value.field == "tokens"
    assert caught.value.got == "no such array (present: image, picture)"


def test_a_plain_array_cannot_feed_two_inputs(tmp_path: Path) -> None:
    np.save(tmp_path / "data.npy", images())
    with pytest.raises(DataMismatch) as caught:
        load_dataset(tmp_path / "data.npy", TWO)
    assert caught.value.got == "no such array (present: none with a name)"


def test_inputs_need_equally_many_samples(tmp_path: Path) -> None:
    with pytest.raises(DataMismatch) as caught:
        load_dataset(npz(tmp_path, image=images(), tokens=np.zeros((5, 5), int)), TWO)
    assert (caught.value.field, caught.value.expected) == (
        "tokens",
        "6 samples as 'image', along the first axis",
    )


@pytest.mark.parametrize("labels", [np.zeros(5), np.zeros((7, 2)), np.float64(1)])
def test_labels_need_one_for_each_sample(labels: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataMismatch) as caught:
        load_dataset(npz(tmp_path, image=images(), labels=labels), ONE)
    assert caught.value.field == "labels"


def test_no_samples_are_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataEmpty) as caught:
        load_dataset(npz(tmp_path, image=images()[:0]), ONE)
    assert caught.value.field == "image"


@pytest.mark.parametrize("name", ["image", "labels"])
def test_numbers_that_are_not_finite_are_counted(name: str, tmp_path: Path) -> None:
    arrays = {"image": images(2000), "labels": np.zeros((2000, 2))}
    arrays[name][0].flat[0] = np.nan
    arrays[name][1999].flat[1] = np.inf
    with pytest.raises(DataNotFinite) as caught:
        load_dataset(npz(tmp_path, **arrays), ONE)
    assert caught.value.details() == {"field": name, "count": 2}


def test_a_fixed_batch_takes_whole_batches(tmp_path: Path) -> None:
    assert len(load_dataset(npz(tmp_path, image=images(11)), FIXED)) == 8
    with pytest.raises(DataMismatch) as caught:
        load_dataset(npz(tmp_path, image=images(3)), FIXED)
    assert (caught.value.field, caught.value.got) == ("image", "3")


class Harmful:
    """Whoever unpickles this has lost."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("unpickled"),)


@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_pickles_are_never_loaded(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    array = np.array([Harmful()], dtype=object)
    if suffix == "npz":
        np.savez("data.npz", image=array)
    else:
        np.save("data.npy", array)
    with pytest.raises(DataUnreadable):
        read_arrays(Path(f"data.{suffix}"))
    assert not Path("unpickled").exists()


def test_a_name_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    file = io.BytesIO()
    np.save(file, images())
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
        archive.writestr("image.npy", file.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("image.npy", file.getvalue())
    with pytest.raises(DataUnreadable, match="two arrays of the same name"):
        read_arrays(tmp_path / "data.npz")


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"a,b\n1,2\n", b"PK\x03\x04", b"\x93NUMPY", b"\x93NUMPY\x01\x00v\x00{'descr", b"\0" * 100],
    ids=["empty", "byte", "csv", "zip_head", "npy_head", "npy_cut", "zeros"],
)
def test_other_bytes_are_unreadable(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable):
        read_arrays(written(tmp_path, content))


def test_other_members_in_a_zip_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match="nothing else"):
        read_arrays(zipped(tmp_path, {"notes.txt": "hello"}))


def test_an_encrypted_zip_is_unreadable(tmp_path: Path) -> None:
    content = bytearray(npz(tmp_path, image=images()).read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # the flag that says so
        content[content.index(signature) + at] |= 1
    with pytest.raises(DataUnreadable):
        read_arrays(written(tmp_path, bytes(content)))


def test_an_unknown_compression_is_unreadable(tmp_path: Path) -> None:
    content = bytearray(npz(tmp_path, image=images()).read_bytes())
    for signature, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(signature) + at] = 97
    with pytest.raises(DataUnreadable):
        read_arrays(written(tmp_path, bytes(content)))


def samples_of(kind: str) -> bytes:
    """A good file of each kind, to be damaged."""
    file = io.BytesIO()
    if kind == "npz":
        np.savez_compressed(file, image=images(), labels=np.arange(6))
    elif kind == "npy":
        np.save(file, images())
    elif kind == "safetensors":
        from safetensors.numpy import save

        return save({"image": images()})
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("preprocess.json", json.dumps({"input": "image", "size": [4, 6]}))
            archive.writestr("cat/a.png", png(6, 4, 9))
            photo = io.BytesIO()
            Image.new("RGB", (6, 4), (1, 2, 3)).save(photo, "JPEG")
            archive.writestr("dog/b.jpg", photo.getvalue())
    return file.getvalue()


KINDS = ("npz", "npy", "safetensors", "images")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_unreadable(kind: str, share: float, tmp_path: Path) -> None:
    content = samples_of(kind)
    with pytest.raises(DataUnreadable):
        read_arrays(written(tmp_path, content[: int(len(content) * share)]))


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=60,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_a_damaged_file_loads_or_is_refused_but_nothing_else(
    kind: str, data: st.DataObject, tmp_path: Path
) -> None:
    content = bytearray(samples_of(kind))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = load_dataset(written(tmp_path, bytes(content)), ONE)
    except DataError:
        return
    assert found.inputs["image"].shape[1:] == (3, 4, 6)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it is enormous."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 100_000])
def test_an_image_bomb_is_refused_unopened(side: int, tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"cat/a\.png"):
        read_arrays(zipped(tmp_path, {"cat/a.png": bomb(side, side)}))


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[1, 2]",
        '{"sizes": [4, 6]}',
        '{"layout": "CHWN"}',
        '{"color": "CMYK"}',
        '{"std": [0, 1, 1]}',
        '{"scale": "much"}',
        '{"mean": [1, 2]}',
        '{"mean": ["a", "b", "c"]}',
        '{"size": [0, 0]}',
        '{"size": "big"}',
        '{"size": 224}',
        '{"size": [4]}',
        '{"size": [true, 6]}',
        '{"size": [100000, 100000]}',
        '{"size": [4.5, "6"]}',
        '{"input": ["image"]}',
    ],
)
def test_a_preprocessing_that_makes_no_sense_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        load_dataset(zipped(tmp_path, {"preprocess.json": text, "a.png": png(6, 4)}), ONE)


def test_images_of_several_sizes_need_one_to_be_named(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match='give "size"'):
        read_arrays(zipped(tmp_path, {"a.png": png(6, 4), "b.png": png(5, 4)}))


def test_a_file_that_only_says_it_is_an_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataUnreadable, match=r"a\.png"):
        read_arrays(zipped(tmp_path, {"a.png": b"%!PS-Adobe-3.0 EPSF-3.0"}))


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(
    n=st.integers(2, 60), share=st.floats(0.01, 0.5), seed=st.integers(0, 9), multiple=st.sampled_from([1, 4])
)
def test_a_split_shares_out_every_sample_once(n: int, share: float, seed: int, multiple: int) -> None:
    n = max(n // multiple, 1) * multiple
    data = Dataset(inputs={"x": np.arange(n)}, labels=np.arange(n) * 2)
    rest, held = data.split(share, seed, multiple)
    assert sorted([*rest.inputs["x"], *held.inputs["x"]]) == list(range(n))
    assert len(held) % multiple == 0
    assert len(held) >= multiple
    for part in (rest, held):
        assert part.labels is not None
        assert (part.labels == part.inputs["x"] * 2).all()
    again = data.split(share, seed, multiple)[1]
    assert again.inputs["x"].tolist() == held.inputs["x"].tolist()


@settings(max_examples=40, derandomize=True, deadline=None, database=None)
@given(
    n=st.integers(1, 30), size=st.integers(1, 12), limit=st.none() | st.integers(1, 40), drop=st.booleans()
)
def test_batches_keep_the_order(n: int, size: int, limit: int | None, drop: bool) -> None:
    data = Dataset(inputs={"x": np.arange(n)})
    parts = [b.inputs["x"].tolist() for b in data.batches(size, limit=limit, drop_last=drop)]
    seen = [i for part in parts for i in part]
    usable = min(n, limit or n)
    assert seen == list(range(usable - usable % size if drop else usable))
    assert all(len(part) == size for part in parts[:-1])


def test_random_probes_fit_and_are_the_same_each_time() -> None:
    first, again = probe_feeds(TWO, None, 3), probe_feeds(TWO, None, 3)
    assert first["image"].shape == (3, 3, 4, 6)
    assert first["tokens"].dtype == np.int64
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_random_probes_need_fixed_inner_dimensions() -> None:
    free = Interface(inputs=(Port(name="image", dtype=FLOAT, shape=("N", 3, "H", 6)),), outputs=())
    with pytest.raises(DataMismatch) as caught:
        probe_feeds(free, None, 2)
    assert (caught.value.field, caught.value.got) == ("image", "dynamic H")


def test_arrays_beyond_memory_are_an_error_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise MemoryError

    path = tmp_path / "samples.npz"
    np.savez(path, x=np.zeros((2, 3), np.float32))
    monkeypatch.setattr(np, "load", exhausted)
    with pytest.raises(DataTooLarge) as caught:
        read_arrays(path)
    assert caught.value.file == "samples.npz"
