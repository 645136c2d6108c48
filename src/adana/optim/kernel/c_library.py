"""Compiling C kernels with the system's compiler, once for each machine.

A kernel takes about half a second to compile. The result is kept in the cache folder under a name
that says what it depends on (text, compiler, flags, processor), so that later processes load it in
a millisecond, and a folder shared by several machines never gives one the code of another.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

FLAGS = ("-O3", "-shared", "-fPIC", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math",
         "-freciprocal-math", "-ffp-contract=off")  # fmt: skip
"""Divisions by one number may share its reciprocal; nothing else about float32 changes. Products and
sums are rounded together only where the text says so, so that codes decode to what encoding meant."""
OPENMP = "-fopenmp"
OPENMP_OF_LOOPS_ONLY = "-fopenmp-simd"
TIME_LIMIT = 120.0
"""Seconds after which a compiler is taken to hang."""

log = logging.getLogger("adana")


class CannotCompile(RuntimeError):
    """There is no working C compiler; the message says what was tried."""


def library(text: str) -> ctypes.CDLL:
    """Return the compiled library of a kernel's text, from the cache where it is there.

    Raises:
        CannotCompile: no compiler was found, it failed, or the result cannot be loaded.
    """
    command = (*compiler(), *FLAGS, *_tuning())
    name = hashlib.sha256("\0".join((text, *command, _processor())).encode()).hexdigest()[:24]
    target = cache_folder() / f"{name}.so"
    if not target.exists():
        start = time.perf_counter()
        _compile(text, command, target)
        log.info("compiled a fused step in %.1f s: %s", time.perf_counter() - start, target)
    try:
        return ctypes.CDLL(str(target))
    except OSError as error:
        raise CannotCompile(
            f"{target} cannot be loaded ({error}); delete it to try again"
        ) from error


@functools.cache
def compiler() -> tuple[str, ...]:
    """Return the C compiler as a command: `$CC`, else the first of cc, gcc and clang.

    Raises:
        CannotCompile: there is none.
    """
    chosen = os.environ.get("CC", "").split()
    for command in [chosen] if chosen else [["cc"], ["gcc"], ["clang"]]:
        if path := shutil.which(command[0]):
            return (path, *command[1:])
    tried = chosen[0] if chosen else "cc, gcc or clang"
    raise CannotCompile(f"no C compiler was found (looked for {tried}; set CC to yours)")


def cache_folder() -> Path:
    """Return where kernels are kept: `kernels` in `$ADANA_CACHE`, else in the user's cache."""
    chosen, home = os.environ.get("ADANA_CACHE"), os.environ.get("XDG_CACHE_HOME")
    root = Path(chosen) if chosen else Path(home or "~/.cache").expanduser() / "adana"
    return root / "kernels"


def _tuning() -> tuple[str, ...]:
    """Return the flags that name this processor."""
    if platform.machine() in ("arm64", "aarch64"):
        return ("-mcpu=native",)
    return ("-march=native",)


@functools.cache
def _processor() -> str:
    """Return what tells this processor from others with other instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(told)}))


def _compile(text: str, command: tuple[str, ...], target: Path) -> None:
    """Compile to a file beside the target, then rename it, so that no one loads half of it."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            code, made = Path(folder) / "kernel.c", Path(folder) / "kernel.so"
            code.write_text(text)
            for openmp in (OPENMP, OPENMP_OF_LOOPS_ONLY):
                result = subprocess.run(
                    [*command, openmp, "-o", str(made), str(code), "-lm"],
                    capture_output=True, text=True, check=False, timeout=TIME_LIMIT,
                )  # fmt: skip
                if result.returncode == 0:
                    os.replace(made, target)
                    return
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotCompile(f"{command[0]} could not be run in {target.parent}: {error}") from error
    said = (result.stderr.strip().splitlines() or ["nothing"])[0]
    raise CannotCompile(f"{command[0]} failed with code {result.returncode}: {said}")
