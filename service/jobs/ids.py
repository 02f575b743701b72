"""Identifiers that sort by the time they were made: a prefix, then a ULID.

Spec: https://github.com/ulid/spec
"""

from __future__ import annotations

import re
import secrets
import time

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 26

JOB, MODEL, DATASET, UPLOAD = "job", "mdl", "dat", "upl"


def new(prefix: str) -> str:
    """A fresh identifier such as ``job_01J9ZC4ZK6M3V9YH0Q8T1W2X3Y``."""
    value = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
    return f"{prefix}_" + "".join(ALPHABET[value >> 5 * i & 31] for i in reversed(range(LENGTH)))


def is_id(text: str, prefix: str) -> bool:
    """Whether ``text`` has the form of an identifier with that prefix."""
    return re.fullmatch(f"{prefix}_[{ALPHABET}]{{{LENGTH}}}", text, re.ASCII) is not None
