"""What a job has finished, kept so that a second try goes on rather than over.

A checkpoint is believed only if it is whole and made from the same model, data, recipe, device
and library versions; anything else counts as absent, and the work is done again.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")

MAGIC = b"SOSPCKP1"
DIGEST = 32
LENGTH = 8
#: Of the running time, at most this share goes into saving.
LARGEST_SHARE = 0.05

log = logging.getLogger(__name__)


class Sink(Protocol):
    """What a checkpoint is written to."""

    def write(self, data: Any, /) -> int:
        """Append bytes."""

    def flush(self) -> None:
        """Pass on what is buffered."""


class Checkpoints(Protocol):
    """A place for named checkpoints; the core does not know where that is."""

    @property
    def every_s(self) -> float:
        """How often a stage that can stop in its middle should save, in seconds."""

    def save(self, name: str, write: Callable[[Sink], None]) -> None:
        """Keep what ``write`` writes under ``name``, whole or not at all.

        Raises:
            OSError: It cannot be kept; what was there before still is.
        """

    def load(self, name: str) -> bytes | None:
        """What was kept under ``name``, in whatever condition; None if there is nothing."""


class NoCheckpoints:
    """Nothing is kept."""

    every_s = float("inf")

    def save(self, name: str, write: Callable[[Sink], None]) -> None:
        """Keep nothing."""

    def load(self, name: str) -> bytes | None:
        """Never anything."""
        return None


@dataclass(frozen=True)
class CheckpointFolder:
    """Files of a folder, written under a temporary name and renamed.

    Two attempts at one job may use it at once, as when one has lost its lease and does not know
    yet: whichever file is there in the end is a whole one.
    """

    folder: Path
    every_s: float = 30.0

    def save(self, name: str, write: Callable[[Sink], None]) -> None:
        """Keep what ``write`` writes, on the disk and not only in its cache."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = self.folder / f"{name}.{secrets.token_hex(8)}.part"
        try:
            with part.open("xb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.folder / name)
        finally:
            part.unlink(missing_ok=True)
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def load(self, name: str) -> bytes | None:
        """The content of the file of that name."""
        with suppress(FileNotFoundError):
            return (self.folder / name).read_bytes()
        return None


@dataclass(frozen=True)
class Codec(Generic[T]):
    """How the result of a stage becomes bytes, and a result again; never by pickle."""

    write: Callable[[T, Sink], None]
    read: Callable[[bytes], T]


@dataclass(frozen=True)
class Kept:
    """Checkpoints of one identity, each sealed with it and with a digest.

    Layout: content, JSON facts, their length, the digest of all before it, ``MAGIC``.

    Attributes:
        of: Names what the work depends on; asked only if there is something to keep.
        prefix: Before every name, where stages of one kind occur more than once.
    """

    place: Checkpoints = field(default_factory=NoCheckpoints)
    of: Callable[[], str] = lambda: ""
    prefix: str = ""

    def part(self, name: str) -> Kept:
        """The checkpoints of one part of the work, beside those of the others."""
        return Kept(self.place, lambda: self._key, f"{self.prefix}{name}.")

    @property
    def every_s(self) -> float:
        """As of the place."""
        return self.place.every_s

    def save(self, name: str, write: Callable[[Sink], None], *, seconds: float = 0.0) -> None:
        """Keep a checkpoint if that is possible: a job does not fail for want of one.

        Args:
            name: Replaces what was kept under it.
            write: Writes the content.
            seconds: The work that is in it.
        """

        def sealed(file: Sink) -> None:
            out = _Hashed(file)
            write(out)
            facts = json.dumps({"key": self._key, "seconds": seconds}).encode()
            out.write(facts + len(facts).to_bytes(LENGTH, "big"))
            file.write(out.digest() + MAGIC)

        try:
            self.place.save(self.prefix + name, sealed)
        except OSError as error:
            log.warning("no checkpoint of %s: %s", name, error)

    def load(self, name: str) -> tuple[bytes, float] | None:
        """Content and seconds of a checkpoint; None unless it is whole and of the same identity."""
        try:
            found = self.place.load(self.prefix + name)
        except OSError as error:
            log.warning("checkpoint %s cannot be read: %s", name, error)
            return None
        if found is None:
            return None
        opened = _opened(found)
        if opened is None:
            log.warning("checkpoint %s is damaged and ignored", name)
            return None
        content, facts = opened
        if facts["key"] != self._key:
            log.warning("checkpoint %s belongs to other work and is ignored", name)
            return None
        return content, float(facts["seconds"])

    @cached_property
    def _key(self) -> str:
        return self.of()


class _Hashed:
    """Passes on what is written, and takes its digest on the way."""

    def __init__(self, to: Sink) -> None:
        self._to, self._hash = to, hashlib.sha256()

    def write(self, data: Any, /) -> int:
        self._hash.update(data)
        return self._to.write(data)

    def flush(self) -> None:
        self._to.flush()

    def digest(self) -> bytes:
        return self._hash.digest()


def _opened(sealed: bytes) -> tuple[bytes, dict[str, Any]] | None:
    body, seal = sealed[: -DIGEST - len(MAGIC)], sealed[-DIGEST - len(MAGIC) :]
    if seal[DIGEST:] != MAGIC or hashlib.sha256(body).digest() != seal[:DIGEST]:
        return None
    end = len(body) - LENGTH
    start = end - int.from_bytes(body[end:], "big")
    return body[:start], json.loads(body[start:end])
