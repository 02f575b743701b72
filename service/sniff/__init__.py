"""A first look at an upload: is it whole, and is it what it should be?

Reads structure only, never executes or unpacks anything, and needs no numerical library. What it
lets through is parsed again, in full, in the job's own process.
"""

from service.sniff.data import check_data
from service.sniff.model import check_model

__all__ = ["check_data", "check_model"]
