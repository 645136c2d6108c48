"""How much memory this machine can still give, and how much a process has taken.

A container's limit counts, not only the machine's: where jobs run in one, the kernel kills them at
that limit while `/proc/meminfo` shows plenty.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that new processes can take, or None where the system does not say.

    The smallest of MemAvailable and, for every control group (version 1 or 2) this process is in,
    the limit less what is used; file caches that the kernel would drop do not count as used.
    `root` is where ``proc`` and ``sys`` are.
    """
    rooms = [*_machine(root / "proc/meminfo"), *_groups(root)]
    return max(0, min(rooms)) if rooms else None


def resident_memory(process: int | str = "self") -> int:
    """Return the bytes of a process in memory now; 0 where the system does not say."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _machine(meminfo: Path) -> Iterator[int]:
    value = _fields(meminfo).get("MemAvailable:")
    if value is not None:
        yield value * 1024


def _groups(root: Path) -> Iterator[int]:
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    base = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _ancestors(base, path, ("memory.max", "memory.current", "inactive_file"))
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield from _ancestors(base / "memory", path, names)


def _ancestors(base: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    """Yield the room below every limit from the group `path` up to `base`."""
    limit_name, used_name, cache_name = names
    group = base / path.lstrip("/")
    for folder in (group, *group.parents):
        limit, used = _number(folder / limit_name), _number(folder / used_name)
        if limit is not None and used is not None:
            yield limit - used + _fields(folder / "memory.stat").get(cache_name, 0)
        if folder == base:
            return


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # no such file, or "max": no limit
        return None


def _fields(path: Path) -> dict[str, int]:
    """Read lines of a name and a number."""
    try:
        rows = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
