"""The words of a recipe: what each field that takes one of several names may say."""

from __future__ import annotations

from enum import StrEnum


class Objective(StrEnum):
    """The loss whose rise is estimated and which fine-tuning lowers."""

    AUTO = "auto"  # labels if the data has them, distillation otherwise
    CROSS_ENTROPY = "cross_entropy"
    BCE = "bce"
    MSE = "mse"
    DISTILL = "distill"  # match the uploaded model; ignores labels


class Method(StrEnum):
    """How structures are scored."""

    AUTO = "auto"  # recovery where training follows, sosp-signed where it does not
    RECOVERY = "recovery"  # curvature, by the size of the weights; parameters are spared
    SOSP_SIGNED = "sosp-signed"  # signed correlations through a square root of the Gauss-Newton matrix
    SOSP_H = "sosp-h"  # as published
    SOSP_I = "sosp-i"  # as published
    OBD = "obd"  # Gauss-Newton diagonal
    FISHER = "fisher"  # empirical Fisher diagonal; needs labels
    TAYLOR = "taylor"  # first order; needs labels
    BN_SCALE = "bn-scale"
    MAGNITUDE = "magnitude"  # L2
    MAGNITUDE_L1 = "magnitude-l1"
    RANDOM = "random"


class Metric(StrEnum):
    """What a budget counts."""

    MACS = "macs"
    PARAMS = "params"
    SIZE = "size"  # bytes of all initializers
    STRUCTURES = "structures"
    LATENCY = "latency"  # median milliseconds in ONNX Runtime, at the first setting of the benchmark


#: Metrics that are sums of products of widths; the others have to be measured.
COUNTED = (Metric.MACS, Metric.PARAMS, Metric.SIZE, Metric.STRUCTURES)


class Precision(StrEnum):
    """Arithmetic of fine-tuning."""

    AUTO = "auto"  # bf16 autocast on CUDA, float32 elsewhere
    FP32 = "fp32"
    BF16 = "bf16"


class Optimizer(StrEnum):
    """Who takes the fine-tuning steps."""

    SGD = "sgd"
    ADAMW = "adamw"


class Mode(StrEnum):
    """What the job does."""

    PRUNE = "prune"
    BOTTLENECKS = "bottlenecks"  # widen the layers that limit the network, and train
    EXPAND_PRUNE = "expand-prune"  # the same, then prune back to the budget
    SWEEP = "sweep"  # several budgets, one slim model each


class Quantization(StrEnum):
    """How eight-bit integers come about."""

    NONE = "none"
    STATIC = "static"  # weights and activations, with ranges from the calibration data
    DYNAMIC = "dynamic"  # weights of matrix products; activations as they come
