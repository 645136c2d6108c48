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

from adana import places

FLAGS = ("-O3", "-shared", "-fPIC", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math",
         "-freciprocal-math", "-ffp-contract=off")  # fmt: skip
"""Divisions by one number may share its reciprocal; nothing else about float32 changes. Products
and sums are rounded together only where the text says so: codes must decode to what was meant."""
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
    try:
        target = kernel_folder() / f"{name}.so"
        if target.exists():
            return ctypes.CDLL(str(target))
    except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
        log.info("the kept kernel cannot be loaded, so it is compiled again: %s", error)
    try:
        kernel_folder().mkdir(parents=True, exist_ok=True)
        return _compiled(text, command, target)
    except (OSError, RuntimeError) as error:
        if isinstance(error, CannotCompile):
            raise
        log.warning(
            "kernels cannot be kept (%s), so every process compiles its own; set ADANA_CACHE to a "
            "folder that can be written to", error,
        )  # fmt: skip
    try:
        with tempfile.TemporaryDirectory(
            prefix="adana-"
        ) as folder:  # loaded code outlives its file
            return _compiled(text, command, Path(folder) / f"{name}.so")
    except OSError as error:
        raise CannotCompile(f"the compiled kernel cannot be written or loaded: {error}") from error


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


def kernel_folder() -> Path:
    """Return where kernels are kept."""
    return places.cache_folder() / "kernels"


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


def _compiled(text: str, command: tuple[str, ...], target: Path) -> ctypes.CDLL:
    """Compile beside the target, rename that, so that no one loads half of it, and load it.

    Raises:
        OSError: the folder of the target cannot be written to, or nothing loaded from it.
    """
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        code, made = Path(folder) / "kernel.c", Path(folder) / "kernel.so"
        code.write_text(text)
        _compile(command, code, made)
        os.replace(made, target)
    log.info("compiled a fused step in %.1f s: %s", time.perf_counter() - start, target)
    return ctypes.CDLL(str(target))


def _compile(command: tuple[str, ...], code: Path, made: Path) -> None:
    """Compile with threads where the compiler has them.

    Raises:
        CannotCompile: it fails either way.
    """
    for openmp in (OPENMP, OPENMP_OF_LOOPS_ONLY):
        try:
            result = subprocess.run(
                [*command, openmp, "-o", str(made), str(code), "-lm"],
                capture_output=True, text=True, check=False, timeout=TIME_LIMIT,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotCompile(f"{command[0]} could not be run: {error}") from error
        if result.returncode == 0:
            return
    said = (result.stderr.strip().splitlines() or ["nothing"])[0]
    raise CannotCompile(f"{command[0]} failed with code {result.returncode}: {said}")
