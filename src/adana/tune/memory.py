"""How much memory this machine can still give, so that no more jobs run at a time than fit.

Reads what Linux says: of the machine, and of every control group (container, batch job) this
process is in. Elsewhere nothing is known, and nothing is limited.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

GIB = 2**30


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the bytes that new jobs can take without anything being killed, or None if unknown.

    The smallest of what the machine has and what each control group may still take. Pages of files
    that can be dropped count as free. `root` is where ``proc`` and ``sys`` lie.
    """
    found = [*_machine(root), *_version_2(root), *_version_1(root)]
    return max(0, min(found)) if found else None


def resident_memory() -> int:
    """Return the bytes of this process that are in memory; 0 where that is not known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def jobs_that_fit(memory_per_job: int, available: int | None) -> int | None:
    """Return how many jobs fit, at least one; None if the memory is not known."""
    return None if available is None else max(1, available // memory_per_job)


def in_words(size: float) -> str:
    """Return a number of bytes for people."""
    return f"{size / GIB:.3g} GiB" if size >= GIB / 10 else f"{size / 2**20:.3g} MiB"


def _machine(root: Path) -> Iterator[int]:
    fields = _fields(root / "proc/meminfo")
    if "MemAvailable:" in fields:
        yield fields["MemAvailable:"] * 1024


def _version_2(root: Path) -> Iterator[int]:
    mount = root / "sys/fs/cgroup"
    for folder in _groups(root, mount, ""):
        limit, used = _number(folder / "memory.max"), _number(folder / "memory.current")
        if limit is not None and used is not None:
            yield limit - used + _fields(folder / "memory.stat").get("inactive_file", 0)


def _version_1(root: Path) -> Iterator[int]:
    mount = root / "sys/fs/cgroup/memory"
    for folder in _groups(root, mount, "memory"):
        limit = _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.usage_in_bytes")
        if limit is not None and used is not None:
            yield limit - used + _fields(folder / "memory.stat").get("total_inactive_file", 0)


def _groups(root: Path, mount: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those around it."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            own = mount / path.lstrip("/")
            yield from (
                folder for folder in (own, *own.parents) if mount in (folder, *folder.parents)
            )


def _number(file: Path) -> int | None:
    """Return the number in a file; None if there is none ("max": no limit)."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _fields(file: Path) -> dict[str, int]:
    """Return the lines "NAME NUMBER ..." of a file."""
    try:
        rows = [line.split() for line in file.read_text().splitlines()]
    except OSError:
        return {}
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdigit()}
