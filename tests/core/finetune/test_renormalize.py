from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from sosp_core.convert.network import Network
from sosp_core.finetune.renormalize import Renormalised, renormalise, wants_normalisation
from sosp_core.finetune.write_back import write_back
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.ir.view import constant
from sosp_core.runtime.distance import relative_error
from sosp_core.runtime.session import serialize
from sosp_core.surgery.verify import outputs_of
from tests.zoo.graphs import CASES, as_model

FOLDED = """(float[N,2,6,6] x) => (float[N,3] y)
<float[4,2,3,3] w1, float[4] b1, float[4,1,3,3] w2, float[4] b2, float[3,4,1,1] w3, float[3] b3, float[3] b4>
{ a = Conv<pads=[1,1,1,1]>(x, w1, b1)  r = Relu(a)  d = Conv<group=4>(r, w2, b2)  s = Add(d, d)
  c = Conv(s, w3, b3)  p = GlobalAveragePool(c)  f = Flatten(p)  y = Add(f, b4) }"""


def batches(seed: int = 0, size: int = 16) -> Iterator[Sequence[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(3):
        yield [torch.randn(size, 2, 6, 6, generator=generator) + 0.5]


@pytest.fixture
def made() -> Renormalised:
    return renormalise(normalize(load_model(as_model(FOLDED, 17).SerializeToString())), batches())


def feeds() -> dict[str, np.ndarray]:
    return {"x": next(batches(seed=7))[0].numpy()}


def test_the_function_and_the_names_of_its_tensors_stay() -> None:
    model = normalize(load_model(as_model(FOLDED, 17).SerializeToString()))
    before = serialize(model)
    made = renormalise(model, batches())
    assert serialize(model) == before
    assert len(made.added) == 3
    assert relative_error(outputs_of(made.model, feeds())["y"], outputs_of(model, feeds())["y"]) < 1e-6
    names = ["a", "d", "c"]
    inside, reference = (Network(m).tensors(next(batches(7)), names) for m in (made.model, model))
    for one, other in zip(inside, reference, strict=True):
        assert relative_error(one.detach().numpy(), other.detach().numpy()) < 1e-5


def test_filters_begin_with_length_one(made: Renormalised) -> None:
    nodes = {node.name: node for node in made.model.graph}
    for conv, _ in made.added:
        weight = constant(nodes[conv].inputs[1])
        assert weight is not None
        lengths = np.linalg.norm(weight.reshape(len(weight), -1), axis=1)
        np.testing.assert_allclose(lengths, 1.0, rtol=1e-5)


def test_the_added_statistics_are_those_of_the_data(made: Renormalised) -> None:
    network = Network(made.model).train()
    trained = network.tensors([torch.cat([b[0] for b in batches()])], ["a"])[0]
    still = network.eval().tensors([torch.cat([b[0] for b in batches()])], ["a"])[0]
    assert relative_error(trained.detach().numpy(), still.detach().numpy()) < 1e-4


def test_what_was_trained_folds_into_the_nodes_there_were(made: Renormalised) -> None:
    network = Network(made.model)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network.train()
    for inputs in batches(seed=3):
        optimizer.zero_grad()
        torch.autograd.backward((network(*inputs)[0] - 1).square().mean())
        optimizer.step()
    network.eval()
    folded = made.fold(write_back(network, made.model.clone()))
    original = normalize(load_model(as_model(FOLDED, 17).SerializeToString()))
    assert [(n.name, n.op_type, [v.name for v in n.outputs]) for n in folded.graph] == [
        (n.name, n.op_type, [v.name for v in n.outputs]) for n in original.graph
    ]
    assert set(folded.graph.initializers) == set(original.graph.initializers)
    expected = network(torch.as_tensor(feeds()["x"]))[0].detach().numpy()
    assert relative_error(outputs_of(folded, feeds())["y"], expected) < 1e-5
    assert relative_error(outputs_of(original, feeds())["y"], expected) > 1e-2, "nothing was learnt"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (FOLDED, True),
        (CASES["conv_chain"].text, False),  # has one
        ("(float[N,4] x) => (float[N,2] y) <float[4,2] w> { y = MatMul(x, w) }", False),
        (
            "(float[N,1,4,4] x) => (float[N,2,4,4] y) <float[2,1,1,1] w, float[2] b> { y = Conv(x, w, b) }",
            False,
        ),
    ],
    ids=["folded", "normalised", "no convolution", "the output itself"],
)
def test_who_gets_one(text: str, wanted: bool) -> None:
    assert wants_normalisation(normalize(load_model(as_model(text, 17).SerializeToString()))) == wanted


def test_a_channel_that_never_varies_is_left_alone() -> None:
    model = as_model(FOLDED, 17)
    for tensor in model.graph.initializer:
        if tensor.name == "w1":
            dead = np.array(np.frombuffer(tensor.raw_data, np.float32)).reshape(4, -1)
            dead[1] = 0
            tensor.raw_data = dead.tobytes()
    made = renormalise(normalize(load_model(model.SerializeToString())), batches())
    # The first convolution, and the depthwise one that reads its dead channel; the last sums over all.
    assert len(made.added) == 1
