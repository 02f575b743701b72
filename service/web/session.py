"""Signing in with an API key: a signed cookie in its place, and tokens that prove a form is ours.

The cookie names the key and says when it was made; it is worth nothing once the key is revoked.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.jobs.keys import Keys
from service.jobs.owners import Caller

COOKIE = "sosp_session"
TOKEN_HEADER = "x-csrf-token"
LIFE_S = 12 * 3600
SECRET = "web.secret"


@dataclass(frozen=True)
class Sessions:
    """Makes and reads cookies; every process that serves this data directory reads the same ones."""

    secret: bytes
    keys: Keys

    @classmethod
    def at(cls, root: Path, keys: Keys) -> Sessions:
        """With the secret of the installation in ``root``, made when it is first needed."""
        place = root / SECRET
        if not place.exists():
            temporary = root / f"{SECRET}.{secrets.token_hex(8)}"
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
            with suppress(FileExistsError):  # another process was faster: its secret counts
                os.link(temporary, place)
            temporary.unlink()
        return cls(place.read_bytes(), keys)

    def begin(self, caller: Caller) -> str:
        """The cookie of somebody who has just shown a key."""
        claim = f"{caller.owner}.{int(time.time())}.{secrets.token_hex(8)}"
        return f"{claim}.{self._sign('session', claim)}"

    def holder(self, cookie: str) -> Caller | None:
        """Whose cookie it is; None if it is forged, too old, or of a key that was revoked."""
        claim, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign("session", claim).encode()):
            return None
        owner, made, _ = claim.split(".")
        return self.keys.by_id(owner) if time.time() - int(made) < LIFE_S else None

    def token(self, cookie: str) -> str:
        """What a form of this session carries; without keys, of whoever uses this machine."""
        return self._sign("form", cookie)

    def genuine(self, cookie: str, token: str) -> bool:
        """Whether a form came from a page of this session."""
        return hmac.compare_digest(token.encode(), self.token(cookie).encode())

    def _sign(self, purpose: str, text: str) -> str:
        return hmac.new(self.secret, f"{purpose}:{text}".encode(), hashlib.sha256).hexdigest()
