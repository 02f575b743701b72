"""Whether the devices that jobs shall compute on are there: asked before the first job, of another process.

Torch knows; but a worker forks, and a server should stay small, so neither loads it.
"""

from __future__ import annotations

import subprocess
import sys

from service.errors import CannotStart

LOOK = """
import sys
from sosp_core.errors import SospError
from sosp_core.machine import pick_devices
try:
    pick_devices(sys.argv[1])
except SospError as error:
    sys.exit(str(error))
"""


def require_present(names: str) -> None:
    """Look for the GPUs that the setting ``devices`` names; a processor is there in any case.

    Raises:
        CannotStart: One is not there, or they do not go together.
    """
    if "cuda" not in names:
        return
    look = [sys.executable, "-P", "-c", LOOK, names]
    done = subprocess.run(look, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        raise CannotStart(reason=f"devices: {last}")
