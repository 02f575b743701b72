"""Whether ONNX Runtime lives through loading a file: found out in a process that may die of it.

The tools that make further forms of a model write graphs that no exporter would, and ONNX Runtime has
been seen to end by a segmentation fault over some in float16. A crash must cost a form, not the job.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from sosp_core.errors import UnsupportedModel

PATIENCE_S = 300.0
LOAD = (
    "import sys, onnxruntime as ort; options = ort.SessionOptions(); options.intra_op_num_threads = 1;"
    "ort.InferenceSession(sys.argv[1], options, providers=['CPUExecutionProvider'])"
)


def require_survivable(content: bytes) -> None:
    """Load a model as its users will, elsewhere. A mere error is left for the checks that follow.

    Cost: a process that imports ONNX Runtime, about a second.

    Raises:
        UnsupportedModel: The process died of a signal, or never came to an end.
    """
    with tempfile.TemporaryDirectory(prefix="sosp-load-") as place:
        file = Path(place) / "model.onnx"
        file.write_bytes(content)
        command = [sys.executable, "-c", LOAD, str(file)]
        try:
            done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
        except subprocess.TimeoutExpired as error:
            raise UnsupportedModel(reason=f"ONNX Runtime did not load it in {PATIENCE_S:.0f} s") from error
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UnsupportedModel(reason=f"ONNX Runtime crashes when it loads it ({name})")
