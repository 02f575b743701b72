"""What the process of a job may not do. Called in that process, before any library is loaded."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import socket
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from service.settings import Settings

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
PR_SET_NO_NEW_PRIVS = 38
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1
# The kernel's order of whom to end when memory runs out: this process before the worker.
OOM_SCORE = "500"
# Of ``nice``: a job gets a tenth of the weight of what answers somebody who waits, and all that is idle.
NICENESS = 10


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one process; 0 is none."""

    memory_bytes: int = 0
    cpu_s: int = 0
    file_bytes: int = 0
    network: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """The limits an installation sets its jobs."""
        return cls(
            memory_bytes=settings.job_memory_bytes,
            cpu_s=settings.job_cpu_s,
            file_bytes=settings.job_file_bytes,
            network=settings.job_network,
        )


def confine(limits: Limits) -> None:
    """Apply ``limits`` to this process and all it will start; there is no way back."""
    _give_way()
    _limit(resource.RLIMIT_CORE, 0)
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
    ):
        if value:
            _limit(kind, value)
    if limits.cpu_s:  # SIGXCPU first, which tells what happened; SIGKILL if that is caught
        _limit(resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 5)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with suppress(OSError):  # not allowed
            Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)
        if not limits.network:
            leave_network()


def _give_way() -> None:
    """Let whoever serves requests on this machine have a processor before us."""
    os.nice(NICENESS)
    # Linux may weigh sessions against each other, each as a whole, and a job has one of its own.
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(NICENESS))


def leave_network() -> bool:
    """Move into a network of our own, which has nothing but loopback; False if that is not allowed.

    Without privileges it takes a user namespace, which some container engines forbid: there the
    container's own network has to have no way out.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    if libc.unshare(CLONE_NEWNET) != 0:
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0:
            return False
        with suppress(OSError):  # the same user inside as outside, and nobody else
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with suppress(OSError):
        _raise_loopback()
    return True


def _raise_loopback() -> None:
    """Processes of one job talk to each other over loopback, which is down in a new network."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        request = struct.pack("16sh22x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(handle, SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))


def _limit(kind: int, value: int, hard: int | None = None) -> None:
    """Lower a limit; one that is lower already stays."""
    _, most = resource.getrlimit(kind)
    hard = value if hard is None else hard
    if most != resource.RLIM_INFINITY:
        value, hard = min(value, most), min(hard, most)
    resource.setrlimit(kind, (value, hard))
