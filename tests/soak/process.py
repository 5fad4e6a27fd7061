"""What the system tells of the service's process, from /proc: memory, threads, descriptors, connections."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

_ESTABLISHED = "01"
_KIB_A_MIB = 1024


def resident_mib(pid: int) -> float:
    """The resident set size (VmRSS)."""
    return _status(pid, "VmRSS") / _KIB_A_MIB


def threads(pid: int) -> int:
    """How many threads there are."""
    return _status(pid, "Threads")


def descriptors(pid: int) -> int:
    """How many file descriptors are open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def connections(pid: int) -> Counter[int]:
    """How many established TCP connections the process has, by the port at the other end."""
    own = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            own.add(str(descriptor.readlink()))
        except FileNotFoundError:
            continue  # closed meanwhile
    found: Counter[int] = Counter()
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/{pid}/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            _, _, remote, state, *rest = line.split()
            if state == _ESTABLISHED and f"socket:[{rest[5]}]" in own:
                found[int(remote.rpartition(":")[2], 16)] += 1
    return found


def _status(pid: int, name: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise RuntimeError(f"/proc tells no {name} of process {pid}")
