"""Compiling C kernels with the system's compiler, once for each machine.

A kernel takes less than half a second to compile. The result is kept in the cache folder under a
name that says what it depends on (text, compiler, flags, processor), so that later processes load
it in a millisecond, and a folder shared by several machines never gives one the code of another.
The name also tells the digest of the file: loading half a library kills the process. Code is loaded
only from what nobody else may write.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
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
    command = (*compiler(), *FLAGS)
    told = "\0".join((text, *command, *_tuning(), _processor()))
    name = hashlib.sha256(told.encode()).hexdigest()[:24]
    if (found := _kept(name)) is not None:
        return found
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="adana-") as folder:
            code, made = Path(folder) / "kernel.c", Path(folder) / "kernel.so"
            code.write_text(text)
            _compile(command, code, made)
            seconds = time.perf_counter() - start
            try:
                target = _keep(made, name)
                loaded = ctypes.CDLL(str(target))
            except (OSError, RuntimeError) as error:  # RuntimeError: there is no home
                log.warning(
                    "kernels cannot be kept (%s), so every process compiles its own; set "
                    "ADANA_CACHE to a folder of yours that can be written to", error,
                )  # fmt: skip
                loaded = ctypes.CDLL(str(made))  # which outlives its file
            else:
                log.info("compiled a fused step in %.1f s: %s", seconds, target)
            return loaded
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
    """Return the flags that name this processor, and ask for its widest vectors."""
    if platform.machine() in ("arm64", "aarch64"):
        return ("-mcpu=native",)
    if platform.machine() in ("x86_64", "AMD64"):
        return ("-march=native", "-mprefer-vector-width=512")
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


def _kept(name: str) -> ctypes.CDLL | None:
    """Return the library that was kept under a name, if it is whole, ours and can be loaded."""
    try:
        folder = places.folder_of_code(kernel_folder())
        for path in sorted(folder.glob(f"{name}-*.so")):
            if not places.is_ours(path):
                continue
            if path.stem != f"{name}-{_digest(path)}":
                path.unlink()
                continue
            try:
                return ctypes.CDLL(str(path))
            except OSError as error:  # of another machine's C library, or no code may run there
                log.info("a kept kernel cannot be loaded, so it is compiled again: %s", error)
    except (OSError, RuntimeError) as error:
        log.info("kept kernels cannot be read: %s", error)
    return None


def _keep(made: Path, name: str) -> Path:
    """Copy a library to where later processes look for it, in full or not at all.

    Raises:
        OSError: the folder cannot be written to, or is not safe to load from.
        RuntimeError: there is no home.
    """
    folder = places.folder_of_code(kernel_folder())
    target = folder / f"{name}-{_digest(made)}.so"
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        copy = shutil.copy(made, Path(beside) / made.name)
        os.replace(copy, target)
    return target


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _compile(command: tuple[str, ...], code: Path, made: Path) -> None:
    """Compile for this processor and with threads, where the compiler can.

    Raises:
        CannotCompile: it fails in every way.
    """
    for flags in itertools.product((_tuning(), ()), ((OPENMP,), (OPENMP_OF_LOOPS_ONLY,))):
        try:
            result = subprocess.run(
                [*command, *itertools.chain(*flags), "-o", str(made), str(code), "-lm"],
                stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=TIME_LIMIT,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise CannotCompile(f"{command[0]} could not be run: {error}") from error
        if result.returncode == 0:
            return
    lines = result.stderr.decode(errors="replace").strip().splitlines()
    said = (lines or ["nothing"])[0]
    raise CannotCompile(f"{command[0]} failed with code {result.returncode}: {said}")
