"""Why some operators have no converter, and will not get one."""

from __future__ import annotations

from sosp_core.convert.table import Operator

RUN_TIME = "which sub-graph runs, or how often, is known only at run time"
QUANTISED = "it works on quantised numbers; hand in the float model"
SEQUENCE = "it works on sequences of tensors"
TEXT = "it works on text"
RANDOM = "it is random, so that two passes would not agree"
FILES = "it decodes files"

REASONS = {
    **dict.fromkeys("If Loop Scan".split(), RUN_TIME),
    **dict.fromkeys(
        "QuantizeLinear DequantizeLinear DynamicQuantizeLinear QLinearConv QLinearMatMul ConvInteger "
        "MatMulInteger".split(),
        QUANTISED,
    ),
    **dict.fromkeys(
        "SequenceAt SequenceConstruct SequenceEmpty SequenceErase SequenceInsert SequenceLength SequenceMap "
        "SplitToSequence ConcatFromSequence Optional OptionalGetElement OptionalHasElement".split(),
        SEQUENCE,
    ),
    **dict.fromkeys("StringConcat StringNormalizer StringSplit RegexFullMatch TfIdfVectorizer".split(), TEXT),
    **dict.fromkeys(
        "Bernoulli Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike".split(), RANDOM
    ),
    "ImageDecoder": FILES,
}
DOMAINS = {
    "ai.onnx.ml": "trees, scalers and encoders of classical machine learning are not differentiated",
    "ai.onnx.preview.training": "it trains rather than infers",
    "com.microsoft.nchwc": "it is bound to one processor; export without ONNX Runtime's layout optimisation",
}
KNOWN_DOMAINS = {"", "ai.onnx", "com.microsoft"}


def reason_against(operator: Operator) -> str | None:
    """Why the operator cannot be converted, where more can be said than that nobody wrote it."""
    if operator.domain in DOMAINS:
        return DOMAINS[operator.domain]
    if operator.domain not in KNOWN_DOMAINS:
        return f"it is a custom operator (domain {operator.domain!r})"
    return REASONS.get(operator.op_type)
