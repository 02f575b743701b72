"""Stage ``export``: further forms of the finished model, for those who asked for them.

None of them can cost the job: what fails becomes a warning with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import onnx
import onnx_ir as ir

from sosp_core.config import ExportConfig, Quantization
from sosp_core.errors import Cancelled
from sosp_core.export.half import halve
from sosp_core.export.int8 import Feeds, quantise_dynamic, quantise_static
from sosp_core.export.result import Exported
from sosp_core.export.survive import require_survivable
from sosp_core.progress import Progress
from sosp_core.runtime.session import serialize
from sosp_core.stages.judge import jury, timings
from sosp_core.stages.subject import Subject
from sosp_core.surgery.verify import require_loadable

STAGE = "export"
#: Samples that calibration runs at once: their activations are held together.
CALIBRATION_BATCH = 16


@dataclass(frozen=True)
class Exports:
    """What came of them.

    Attributes:
        files: Content by file name.
        results: What each file is worth.
        warnings: Why others are missing.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    results: list[Exported] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _Form:
    name: str
    kind: str
    make: Callable[[ir.Model], ir.Model]


def export(subject: Subject, content: bytes | ir.Model, progress: Progress) -> Exports:
    """Make, check, judge and time every form that the recipe asks for.

    Args:
        subject: The original, and the data.
        content: The slim model as handed out.
        progress: Told after each form, asked before each whether to stop.

    Raises:
        Cancelled: Between two forms.
    """
    made, forms = Exports(), list(_forms(subject, subject.recipe.export))
    if isinstance(content, ir.Model):  # the tools take and give single files
        made.warnings.extend(f"export_failed: {f.name} ({f.kind}): the model is too large" for f in forms)
        return made
    for number, form in enumerate(forms):
        if progress.cancelled():
            raise Cancelled(stage=STAGE)
        progress.report(STAGE, number / len(forms), form.name)
        try:
            made.files[form.name], result = _made(subject, content, form)
            made.results.append(result)
        # A form is an extra: whatever the tools raise, who share no base, the slim model is handed out.
        except Exception as error:
            made.files.pop(form.name, None)
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            made.warnings.append(f"export_failed: {form.name} ({form.kind}): {reason[:300]}")
    return made


def _forms(subject: Subject, config: ExportConfig) -> Iterator[_Form]:
    if config.int8 is Quantization.STATIC:
        feeds = _calibration(subject, config.samples)
        yield _Form(name="model.int8.onnx", kind="int8-static", make=lambda m: quantise_static(m, feeds))
    if config.int8 is Quantization.DYNAMIC:
        yield _Form(name="model.int8.onnx", kind="int8-dynamic", make=quantise_dynamic)
    if config.fp16:
        yield _Form(name="model.fp16.onnx", kind="fp16", make=halve)


def _calibration(subject: Subject, samples: int) -> Iterator[Feeds]:
    size = subject.batch(CALIBRATION_BATCH)
    limit = max(samples - samples % size, size)
    for part in subject.data.batches(size, limit=limit, drop_last=subject.interface.batch is not None):
        yield part.inputs


def _made(subject: Subject, content: bytes, form: _Form) -> tuple[bytes, Exported]:
    model = form.make(ir.from_proto(onnx.load_from_string(content)))
    require_survivable(serialize(model))
    file = require_loadable(model, subject.model)
    result = Exported(
        name=form.name,
        kind=form.kind,
        file_bytes=len(file),
        quality=jury(subject).quality(file),
        benchmark=tuple(timings(subject, file)),
    )
    return file, result
