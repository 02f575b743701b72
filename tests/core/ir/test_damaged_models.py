"""Damaged and doctored models: every one is read, or refused by a typed error, within seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache

import onnx
import onnx.numpy_helper
import pytest
from google.protobuf.message import Message

from sosp_core.errors import InputError, ModelInvalid, ModelNotOnnx, ModelTooLarge, ResourceError
from sosp_core.inspection import inspect
from sosp_core.ir.load import Limits, load_model
from tests.core.digits import digits_model
from tests.live import field_bytes
from tests.zoo.graphs import CASES, content_of

SOURCES = ("digits", "unet", "expanded_and_squeezed", "channel_slices", "selected_by_a_condition")
STRANGE_NUMBERS = (-1, 0, 1, 2**31, 10**12, 2**63 - 1, -(2**63))


@cache
def source(name: str) -> bytes:
    return digits_model() if name == "digits" else content_of(CASES[name])


def flipped(content: bytes, rng: random.Random) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.randint(1, 5)):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content))
    return content[:start] + content[start + rng.choice((1, 7, len(content))) :]


def doctored(content: bytes, rng: random.Random) -> bytes:
    """One to three fields of the message deleted, doubled, renamed or set to a strange number."""
    model = onnx.load_from_string(content)
    for _ in range(rng.randint(1, 3)):
        _doctor(rng.choice(_messages(model)), rng)
    return bytes(model.SerializeToString())


def _messages(root: Message) -> list[Message]:
    found = [root]
    for field, value in root.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for child in value if hasattr(value, "append") or hasattr(value, "add") else [value]:
                found += _messages(child)
    return found


def _doctor(message: Message, rng: random.Random) -> None:
    fields = message.ListFields()
    if not fields:
        return
    field, value = rng.choice(fields)
    repeated = hasattr(value, "extend")
    if rng.random() < 0.4 or (repeated and not len(value)):
        message.ClearField(field.name)
    elif repeated and rng.random() < 0.5:
        value.extend([value[rng.randrange(len(value))]])
    elif repeated:
        del value[rng.randrange(len(value))]
    elif field.cpp_type in (field.CPPTYPE_INT32, field.CPPTYPE_INT64):
        number = rng.choice(STRANGE_NUMBERS)
        setattr(message, field.name, number if field.cpp_type == field.CPPTYPE_INT64 else number % 2**31)
    elif field.type == field.TYPE_STRING:
        setattr(message, field.name, rng.choice(("", "x", "Conv", "nobody", value * 2)))


KINDS: dict[str, Callable[[bytes, random.Random], bytes]] = {"flip": flipped, "cut": cut, "doctor": doctored}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("part", range(2))
@pytest.mark.timeout(120)
def test_a_damaged_model_is_read_or_refused(name: str, kind: str, part: int) -> None:
    for seed in range(10 * part, 10 * part + 10):
        content = KINDS[kind](source(name), random.Random(f"{name} {kind} {seed}"))
        try:
            inspect(content)
        except (InputError, ResourceError):
            continue
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise


def test_deep_nesting_is_refused() -> None:
    graph = field_bytes(2, b"g")
    for _ in range(60):
        branch = field_bytes(1, b"then_branch") + field_bytes(6, graph)
        graph = field_bytes(1, field_bytes(4, b"If") + field_bytes(5, branch))
    with pytest.raises(ModelNotOnnx):
        load_model(b"\x08\x08" + field_bytes(7, graph) + field_bytes(8, b"\x10\x11"))


def test_dimensions_of_minus_one_are_free() -> None:
    model = onnx.load_from_string(source("unet"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert inspect(model.SerializeToString()).inputs == ["x: float32[?, 3, 8, 8]"]


@pytest.mark.parametrize("raw", [True, False])
def test_a_tensor_that_does_not_fill_its_shape_is_refused(raw: bool) -> None:
    model = onnx.load_from_string(source("unet"))
    weight = model.graph.initializer[0]
    if not raw:
        values = onnx.numpy_helper.to_array(weight).reshape(-1).tolist()
        weight.ClearField("raw_data")
        weight.float_data.extend(values)
    weight.dims[0] += 1
    with pytest.raises(ModelInvalid):
        load_model(model.SerializeToString())


def test_an_input_without_an_element_type_stops_a_job() -> None:
    model = onnx.load_from_string(source("unet"))
    model.graph.input[0].type.tensor_type.elem_type = 0
    assert "not a tensor with a type" in inspect(model.SerializeToString()).blockers[0]


def test_too_many_nodes_and_tensors_are_refused() -> None:
    for limits in (Limits(nodes=3), Limits(tensors=2), Limits(tensor_elements=10), Limits(file_bytes=100)):
        with pytest.raises(ModelTooLarge):
            load_model(source("unet"), limits)
