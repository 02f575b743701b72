"""Operators that ONNX Runtime keeps under the standard's name: raised to the opset that defines them.

Its transformer optimiser writes ``LayerNormalization`` into models of any opset, though the standard
has it from 17 on, and ``SimplifiedLayerNormalization``, which the standard calls
``RMSNormalization`` from 23 on. ONNX Runtime runs them; the checker and other runtimes do not.
"""

from __future__ import annotations

import onnx
import onnx_ir as ir
from google.protobuf.message import EncodeError
from onnx import version_converter
from onnx.shape_inference import InferenceError

from sosp_core.errors import ModelInvalid
from sosp_core.ir import wire

STANDARD = ("", "ai.onnx")
#: Where the nodes wait while the rest is converted, which passes other domains by.
ASIDE = "sosp.aside"
#: By name in such files: name in the standard.
STANDARD_NAME = {
    "LayerNormalization": "LayerNormalization",
    "SimplifiedLayerNormalization": "RMSNormalization",
}
#: By name in the standard.
SINCE = {"LayerNormalization": 17, "RMSNormalization": 23}


#: A message over 2 GiB, and what the converter has no way for or finds no shapes in.
UNRAISABLE = (EncodeError, version_converter.ConvertError, InferenceError, RuntimeError, ValueError)


def set_aside(proto: onnx.ModelProto) -> int:
    """Move such nodes to a domain of their own, in place; the opset they need, or 0 if there are none."""
    version = max((o.version for o in proto.opset_import if o.domain in STANDARD), default=0)
    early = [node for node in wire.nodes(proto) if _is_early(node, version)]
    for node in early:
        node.op_type, node.domain = STANDARD_NAME[node.op_type], ASIDE
    if early:
        proto.opset_import.add(domain=ASIDE, version=1)
    return max((SINCE[node.op_type] for node in early), default=0)


def raise_opset(model: ir.Model, version: int) -> ir.Model:
    """The model at that opset or a later one, what was set aside under its standard name.

    Raises:
        ModelInvalid: Some other operator cannot be carried there, or the model is too large to try.

    Cost: two copies of the model. They hold the weights, whose shapes the conversion looks at.
    """
    try:
        proto = ir.to_proto(model)
        if model.opset_imports.get("", 1) < version:
            proto = version_converter.convert_version(proto, version)
    except UNRAISABLE as error:
        reason = f"it has normalisations of opset {version}, and cannot be raised to that: {error}"
        raise ModelInvalid(reason=reason.splitlines()[0]) from error
    for node in wire.nodes(proto):
        if node.domain == ASIDE:
            node.domain = ""
    kept = [o for o in proto.opset_import if o.domain != ASIDE]
    del proto.opset_import[:]
    proto.opset_import.extend(kept)
    return ir.from_proto(proto)


def _is_early(node: onnx.NodeProto, version: int) -> bool:
    if node.domain not in STANDARD or node.op_type not in STANDARD_NAME:
        return False
    name = STANDARD_NAME[node.op_type]
    # Of the other outputs the standard's RMSNormalization has none.
    return version < SINCE[name] if name == node.op_type else len(node.output) == 1
