"""How fast text becomes tokens and tokens become batches, and how long a training would wait.

    python benchmarks/data_throughput.py [--rounds 5] [--megabytes 12] [--tokens 134217728]

Tokenizer: the `python` corpus, batches of a megabyte as `adana data prepare` encodes them, and a
trained vocabulary of 8192; by threads of the `tokenizers` library, and by processes of one thread
each that get text and send tokens back. Build: `prepare` into an empty cache, reading, hashing,
training the tokenizer and writing included. Loader: batches of 32 x 2049 tokens in the training's
order from several memory-mapped files, in memory and after the kernel was asked to forget them;
then with work between the batches, without and with prefetching. The candidates take turns in every
round. Printed are medians, and the range of the rounds in brackets.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from adana.data import BatchStream, DataConfig, Prefetcher, Tokenizer, Tokens, prepare, read_corpus
from adana.data.build import BATCH_BYTES
from adana.data.tokenizer import train_tokenizer

VOCABULARY = 8192
BATCH, LENGTH = 32, 2048
WORK_SECONDS = 0.01


def batches(megabytes: float) -> Iterator[list[str]]:
    part, size, total = [], 0, 0
    for document in read_corpus("python").documents:
        part.append(document.text)
        size, total = size + document.size, total + document.size
        if size >= BATCH_BYTES:
            yield part
            part, size = [], 0
        if total >= megabytes * 1e6:
            break
    if part:
        yield part


def encode(tokenizer: Tokenizer, parts: list[list[str]]) -> tuple[float, int]:
    begun = time.perf_counter()
    tokens = sum(len(ids) for part in parts for ids in tokenizer.encode_documents(part))
    return time.perf_counter() - begun, tokens


def threads_child(path: str, megabytes: float) -> None:
    """Run in a process of its own, as the number of threads is settled when the first is made."""
    tokenizer = Tokenizer.from_json(Path(path).read_text())
    parts = list(batches(megabytes))
    encode(tokenizer, parts[:1])
    print(*encode(tokenizer, parts))


def with_threads(count: int, path: Path, megabytes: float) -> tuple[float, int]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", str(path), "--megabytes", str(megabytes)],
        env={**os.environ, "RAYON_NUM_THREADS": str(count)},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, tokens = done.stdout.split()
    return float(seconds), int(tokens)


_OWN: list[Tokenizer] = []


def _begin(path: str) -> None:
    os.environ["RAYON_NUM_THREADS"] = "1"
    _OWN.append(Tokenizer.from_json(Path(path).read_text()))


def _encode_part(part: list[str]) -> list[np.ndarray]:
    return _OWN[0].encode_documents(part)


def with_processes(count: int, path: Path, megabytes: float) -> tuple[float, int]:
    parts = list(batches(megabytes))
    context = get_context("spawn")
    with ProcessPoolExecutor(count, context, _begin, (str(path),)) as pool:
        list(pool.map(_encode_part, [["warm up"]] * 4 * count))
        begun = time.perf_counter()
        tokens = sum(len(ids) for found in pool.map(_encode_part, parts) for ids in found)
        return time.perf_counter() - begun, tokens


def build(megabytes: float) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for number, text in enumerate(text for part in batches(megabytes) for text in part):
            (corpus / f"{number:05d}.py").write_text(text, newline="")
        begun = time.perf_counter()
        shards = prepare(DataConfig(str(corpus), VOCABULARY), Path(folder, "cache"))
        return time.perf_counter() - begun, len(shards.train) + len(shards.validation)


def spread(values: list[float], form: str = "{:.3g}") -> str:
    low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
    return f"{middle} ({low} to {high})"


def measure_tokenizer(rounds: int, megabytes: float) -> None:
    parts = list(batches(megabytes))
    size = sum(len(text.encode()) for part in parts for text in part)
    tokenizer = train_tokenizer((text for part in parts for text in part), VOCABULARY)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_text(tokenizer.to_json())
        ways: dict[str, Callable[[], tuple[float, int]]] = {
            "1 thread": lambda: with_threads(1, path, megabytes),
            "2 threads": lambda: with_threads(2, path, megabytes),
            "1 process": lambda: with_processes(1, path, megabytes),
            "2 processes": lambda: with_processes(2, path, megabytes),
            "build, trained tokenizer included": lambda: build(megabytes),
        }
        results: dict[str, list[tuple[float, int]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                results[name].append(way())
    print(f"\ntokenizer: {size / 1e6:.1f} MB of Python, vocabulary {VOCABULARY}\n")
    print("| way | MB/s | million tokens/s |\n|---|---|---|")
    for name, found in results.items():
        speeds = [size / 1e6 / seconds for seconds, _ in found]
        rates = [tokens / 1e6 / seconds for seconds, tokens in found]
        print(f"| {name} | {spread(speeds)} | {spread(rates)} |")


def make_files(folder: Path, count: int, per_file: int) -> Tokens:
    paths = []
    random = np.random.default_rng(0)
    for number, start in enumerate(range(0, count, per_file)):
        paths.append(folder / f"{number}.bin")
        size = min(per_file, count - start)
        random.integers(0, 50_000, size, dtype=np.uint16).tofile(paths[-1])
    return Tokens(paths, np.dtype("<u2"), per_file)


def forget(folder: Path) -> None:
    """Ask the kernel to drop the files from memory."""
    for path in folder.iterdir():
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def work(seconds: float = WORK_SECONDS) -> None:
    """Keep one core busy in numpy, which lets other threads run meanwhile."""
    end = time.perf_counter() + seconds
    matrix = np.ones((64, 64))
    while time.perf_counter() < end:
        matrix @ matrix


def steps(get: Callable[[int, int], np.ndarray], first: int, count: int, busy: bool) -> float:
    """Return the seconds that `count` batches took."""
    begun = time.perf_counter()
    for number in range(count):
        get((first + number) * BATCH, BATCH)
        if busy:
            work()
    return time.perf_counter() - begun


def measure_loader(rounds: int, count: int) -> None:
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        make_files(folder, count, 1 << 25)
        per_step = BATCH * LENGTH / 1e6
        rates: dict[str, list[float]] = {"in memory": [], "from disk": []}
        waits: dict[str, list[float]] = {
            f"{place}, {way}": []
            for place in ("in memory", "from disk")
            for way in ("no prefetch", "prefetch")
        }
        for number in range(rounds):
            for place in ("in memory", "from disk"):
                for kind in ("bare", "no prefetch", "prefetch"):
                    tokens = Tokens(sorted(folder.iterdir()), np.dtype("<u2"), 1 << 25)
                    stream = BatchStream(tokens, LENGTH, seed=number)
                    if place == "from disk":
                        del tokens, stream  # mapped pages are not forgotten
                        forget(folder)
                        tokens = Tokens(sorted(folder.iterdir()), np.dtype("<u2"), 1 << 25)
                        stream = BatchStream(tokens, LENGTH, seed=number)
                    else:
                        np.asarray(tokens).sum()
                    if kind == "bare":
                        rates[place].append(100 * per_step / steps(stream.batch, 0, 100, False))
                    elif kind == "no prefetch":
                        seconds = steps(stream.batch, 0, 100, True)
                        waits[f"{place}, {kind}"].append(100 * (1 - 100 * WORK_SECONDS / seconds))
                    else:
                        with Prefetcher(stream) as ahead:
                            seconds = steps(ahead.get, 0, 100, True)
                            waits[f"{place}, {kind}"].append(100 * ahead.seconds_waited / seconds)
    print(f"\nloader: {BATCH} x {LENGTH}, {count / 1e6:.0f} million tokens in files of 2^25\n")
    print("| tokens | million tokens/s |\n|---|---|")
    for place, found in rates.items():
        print(f"| {place} | {spread(found)} |")
    print(f"\nshare of the time waited, with {1000 * WORK_SECONDS:.0f} ms of work a batch\n")
    print("| tokens | % |\n|---|---|")
    for way, found in waits.items():
        print(f"| {way} | {spread(found)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megabytes", type=float, default=12.0)
    parser.add_argument("--tokens", type=int, default=1 << 27)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        threads_child(arguments.child, arguments.megabytes)
        return
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    measure_tokenizer(arguments.rounds, arguments.megabytes)
    measure_loader(arguments.rounds, arguments.tokens)


if __name__ == "__main__":
    main()
