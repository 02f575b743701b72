"""Every element-wise operator obeys the law, and every rule is met by some case of the zoo."""

from __future__ import annotations

import pytest
from onnx import defs

from sosp_core.errors import SurgeryDiverged
from sosp_core.ops.pointwise import NARY, UNARY
from sosp_core.ops.table import RuleTable, rules
from sosp_core.structures.gating import gate_model
from sosp_core.surgery.apply import slim
from sosp_core.surgery.verify import outputs_of, require_close
from tests.zoo.built import prepare, random_mask
from tests.zoo.graphs import GRAPHS, as_model
from tests.zoo.graphs import build as build_graph

OPSET = 20
#: What has to surround an operator so that it sees, and makes, floats it is defined on.
SPECIAL = {
    "Acosh": "q = Abs(p)  o = Add(q, one)  z = Acosh(o)",
    "Acos": "q = Tanh(p)  z = Acos(q)",
    "Asin": "q = Tanh(p)  z = Asin(q)",
    "Atanh": "q = Tanh(p)  o = Mul(q, half)  z = Atanh(o)",
    "Log": "q = Exp(p)  z = Log(q)",
    "Sqrt": "q = Abs(p)  z = Sqrt(q)",
    "Reciprocal": "q = Exp(p)  z = Reciprocal(q)",
    "Cast": "q = Cast<to=11>(p)  z = Cast<to=1>(q)",
    "IsNaN": "q = IsNaN(p)  z = Cast<to=1>(q)",
    "IsInf": "q = IsInf(p)  z = Cast<to=1>(q)",
    "Not": "c = Greater(p, half)  q = Not(c)  z = Cast<to=1>(q)",
    "BitwiseNot": "c = Cast<to=6>(p)  q = BitwiseNot(c)  z = Cast<to=1>(q)",
    "Div": "q = Exp(r)  z = Div(p, q)",
    "Pow": "q = Exp(p)  z = Pow(q, r)",
    "Mod": "q = Exp(r)  z = Mod<fmod=1>(p, q)",
    "PRelu": "z = PRelu(p, slope)",
    "Where": "c = Greater(p, r)  z = Where(c, p, r)",
    **{
        op: f"q = {op}(p, r)  z = Cast<to=1>(q)"
        for op in "Equal Greater GreaterOrEqual Less LessOrEqual".split()
    },
    **{
        op: f"c = Greater(p, half)  d = Greater(r, half)  q = {op}(c, d)  z = Cast<to=1>(q)"
        for op in ("And", "Or", "Xor")
    },
    **{
        op: f"c = Cast<to=6>(p)  d = Cast<to=6>(r)  q = {op}(c, d)  z = Cast<to=1>(q)"
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")
    },
}
#: Newer than the opset of this test, or eliminated by normalisation before any rule sees it.
ABSENT = {"Swish", "Dropout", "Identity"}


def text_of(op_type: str) -> str:
    inner = SPECIAL.get(op_type) or f"z = {op_type}(p{', r' if op_type in NARY else ''})"
    return f"""(float[N,3,4,4] x) => (float[N,2,4,4] y)
    <float[5,3,1,1] w0, float[5] b0, float[5,3,1,1] w1, float[5,1,1] slope, float[2,5,1,1] w2,
     float one = {{1.0}}, float half = {{0.5}}>
    {{ p = Conv(x, w0, b0)  r = Conv(x, w1)  {inner}  y = Conv(z, w2) }}"""


@pytest.mark.parametrize("op_type", sorted(set(UNARY + NARY) - ABSENT))
def test_an_element_wise_operator_obeys_the_law(op_type: str) -> None:
    built = prepare(as_model(text_of(op_type), OPSET).SerializeToString())
    assert op_type in {node.op_type for node in built.model.graph}, "folded away, so not tested"
    assert [len(g.members) for g in built.structures.groups] == [5], "not followed, or not united"
    for seed in range(2):
        alive = random_mask(built.structures, seed)
        cut = slim(built.model, built.structures, alive)
        masked = gate_model(built.model, built.structures, built.shapes).mask(alive)
        require_close(outputs_of(cut, built.feeds), outputs_of(masked, built.feeds), 1e-4, SurgeryDiverged)


def test_every_rule_names_an_operator_of_the_standard() -> None:
    known = {schema.name for schema in defs.get_all_schemas_with_history() if not schema.domain}
    # ONNX Runtime's optimiser writes this one into ONNX's domain.
    known |= {"SimplifiedLayerNormalization"}
    assert {op for domain, op in rules.op_types() if not domain} <= known


#: Rules that no zoo graph meets because they share their function with one that does.
ALIKE = {
    *("AveragePool LpPool GlobalLpPool Upsample LogSoftmax Hardmax RMSNormalization LRN ArgMin".split()),
    *("LpNormalization MeanVarianceNormalization ReduceL1 ReduceSumSquare".split()),
    *("SimplifiedLayerNormalization SkipSimplifiedLayerNormalization".split()),
    *("ReduceMin ReduceProd ReduceLogSum ReduceLogSumExp".split()),
}


def test_every_rule_is_met_by_a_case() -> None:
    met = {node.op_type for graph in GRAPHS for node in build_graph(graph).model.graph}
    named = {op for _, op in rules.op_types()}
    assert named - met - set(UNARY + NARY) == ALIKE


def test_a_second_rule_for_an_operator_is_refused() -> None:
    table = RuleTable()
    table.register("Conv")(lambda node, flow: None)
    with pytest.raises(RuntimeError, match="second rule for Conv"):
        table.register("Relu", "Conv")(lambda node, flow: None)
