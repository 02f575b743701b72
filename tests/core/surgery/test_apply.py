from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from sosp_core.errors import OutputRejected, SurgeryDiverged
from sosp_core.runtime.session import serialize
from sosp_core.surgery.apply import slim
from sosp_core.surgery.verify import require_close, require_loadable
from tests.zoo.built import Built
from tests.zoo.graphs import CASES, build


def cut(built: Built, *removed: int) -> onnx.ModelProto:
    alive = built.structures.all_alive()
    alive[list(removed)] = False
    return onnx.load_from_string(serialize(slim(built.model, built.structures, alive)))


def stored(model: onnx.ModelProto, name: str) -> np.ndarray:
    return next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == name)


def test_weights_lose_exactly_the_slices_of_what_went() -> None:
    built = build(CASES["conv_chain"])
    before, after = cut(built), cut(built, 1, 4, 7)  # channels 1 and 4 of Conv_0, 1 of Conv_3
    left, right = [0, 2, 3, 5], [0, 2, 3, 4]
    for name in ("w1", "g1", "b1", "m1", "var1"):
        np.testing.assert_array_equal(stored(after, name), stored(before, name)[left])
    np.testing.assert_array_equal(stored(after, "w2"), stored(before, "w2")[right][:, left])
    np.testing.assert_array_equal(stored(after, "b2"), stored(before, "b2")[right])
    np.testing.assert_array_equal(stored(after, "w3"), stored(before, "w3")[:, right])


def test_an_integer_that_two_nodes_share_is_copied() -> None:
    built = build(CASES["reshape_target_shared_by_two_nodes"])
    after = cut(built, 0, 1, 2, 7)  # three of the first branch, one of the second
    targets = {
        node.name: stored(after, node.input[1]).tolist()
        for node in after.graph.node
        if node.op_type == "Reshape"
    }
    assert sorted(targets.values()) == [[-1, 64], [-1, 192]]
    assert stored(cut(built), "flat").tolist() == [-1, 256]


def test_split_sizes_that_two_nodes_share_are_copied() -> None:
    built = build(CASES["split_sizes_shared_by_two_nodes"])
    after = cut(built, 0, 7)
    sizes = [stored(after, n.input[1]).tolist() for n in after.graph.node if n.op_type == "Split"]
    assert sizes == [[1, 2], [2, 1]]


def test_integers_in_attributes_follow_too() -> None:
    built = build(CASES["residual_option_a_attributes"])
    alive = [i for group in built.structures.groups for i in group.members[1:]]
    after = cut(built, *(set(range(built.structures.count)) - set(map(int, alive))))
    attributes = {n.op_type: {a.name: list(a.ints) for a in n.attribute} for n in after.graph.node}
    assert attributes["Slice"]["ends"] == [3]
    assert sum(attributes["Pad"]["pads"]) == 3


def test_the_group_count_of_a_depthwise_convolution_follows() -> None:
    after = cut(build(CASES["depthwise"]), 0, 5)
    groups = [a.i for n in after.graph.node for a in n.attribute if a.name == "group"]
    assert groups == [4]


def test_inner_shapes_are_inferred_anew() -> None:
    after = cut(build(CASES["conv_chain"]), 0, 1)
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in after.graph.value_info}
    assert shapes["r"][1:] == [4, 8, 8]


def test_a_changed_interface_is_rejected() -> None:
    one, other = build(CASES["conv_chain"]), build(CASES["two_heads"])
    with pytest.raises(OutputRejected) as caught:
        require_loadable(one.model, other.model)
    assert "interface changed" in caught.value.reason


def test_a_model_that_does_not_load_is_rejected() -> None:
    built = build(CASES["conv_chain"])
    broken = slim(built.model, built.structures, built.structures.all_alive())
    broken.graph.initializers["w2"].const_value = broken.graph.initializers["w3"].const_value
    with pytest.raises(OutputRejected):
        require_loadable(broken, built.model)


def test_the_first_tensor_too_far_apart_is_named() -> None:
    expected = {"a": np.ones(3, np.float32), "b": np.array([1.0, 2.0], np.float32)}
    got = {"a": np.ones(3, np.float32), "b": np.array([1.0, 2.5], np.float32)}
    with pytest.raises(SurgeryDiverged) as caught:
        require_close(got, expected, 1e-3, SurgeryDiverged)
    assert (caught.value.tensor, caught.value.error) == ("b", pytest.approx(0.25))
    assert require_close(got, expected, 0.3, SurgeryDiverged) == pytest.approx(0.25)


@pytest.mark.parametrize("wrong", [np.array([np.nan, 1.0]), np.array([1.0]), np.array([np.inf, 1.0])])
def test_nan_and_other_shapes_are_infinitely_far(wrong: np.ndarray) -> None:
    with pytest.raises(SurgeryDiverged) as caught:
        require_close({"y": wrong}, {"y": np.ones(2)}, 1e9, SurgeryDiverged)
    assert caught.value.error == float("inf")
