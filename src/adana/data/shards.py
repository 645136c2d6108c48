"""Shards: the tokens of a corpus on disk, written so that half of them never look like all.

One folder holds::

    train-00000.bin, ...        token ids, little-endian uint16 or uint32, end-of-text after each
    validation-00000.bin, ...   document; all files of a split but its last hold equally many
    tokenizer.json              what made them
    manifest.json               counts, where the text came from, size and checksum of every file
    verified.json               which files were found to match their checksums, and when they were
                                last changed then; written on opening, may be deleted

The manifest comes last: a folder without one is incomplete. The first opening checks every byte, so
nobody trains on damaged data; later ones check what has changed since by size, time and inode.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adana.data.digests import SETTLED_SECONDS
from adana.data.errors import ShardError
from adana.data.tokenizer import Tokenizer
from adana.data.tokens import Tokens
from adana.runs import RunError, read_json, write_bytes, write_json

FORMAT_VERSION = 2
"""Version of the folder's format; raised when the files change their meaning."""

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
VERIFIED = "verified.json"
SPLITS = ("train", "validation")

SHARD_TOKENS = 1 << 27
"""Tokens of a file, the last one of a split excepted: 256 MiB of uint16."""


@dataclass(frozen=True)
class Shards:
    """Verified tokens, opened for reading; made by `open_shards`."""

    folder: Path
    """Where the files are."""
    manifest: dict[str, Any]
    """The content of ``manifest.json``."""
    tokenizer: Tokenizer
    """The tokenizer that made the tokens."""
    train: Tokens
    """Training tokens, ``(tokens,)`` of uint16 or uint32, read-only."""
    validation: Tokens
    """Validation tokens, ``(tokens,)`` of uint16 or uint32, read-only."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over both splits and the tokenizer: equal exactly if the tokens are the same."""
        return fingerprint_of(self.manifest)

    def bytes_per_token(self, split: str = "validation") -> float:
        """Return the mean bytes of text a token of ``train`` or ``validation`` stands for."""
        counts = self.manifest["splits"][split]
        return float(counts["bytes"] / counts["tokens"])


def fingerprint_of(manifest: Mapping[str, Any]) -> str:
    """Return the fingerprint of the tokens that a manifest describes, see `Shards.fingerprint`."""
    files = manifest["files"]
    sums = {
        f"{split}.bin": _hash_of_split([files[n]["sha256"] for n in counts["files"]])
        for split, counts in manifest["splits"].items()
    }
    return _hash_of({**sums, TOKENIZER: files[TOKENIZER]["sha256"]})


def shard_name(split: str, number: int) -> str:
    """Return the name of a split's file, from number 0."""
    return f"{split}-{number:05d}.bin"


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write ``tokenizer.json``."""
    write_bytes(folder / TOKENIZER, tokenizer.to_json().encode())


def write_manifest(
    folder: Path,
    *,
    tokenizer: Tokenizer,
    tokenizer_name: str,
    splits: Mapping[str, Mapping[str, Any]],
    sums: Mapping[str, str],
    shard_tokens: int,
    corpus: Mapping[str, Any],
    split_rule: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> None:
    """Write ``manifest.json``, which makes the folder complete; call it after everything else.

    `splits` has ``tokens``, ``documents``, ``bytes`` and ``files`` of each split, `sums` the
    SHA-256 of each of those files. `corpus` and `split_rule` say where the text came from and how
    it was divided, `settings` what was asked for.
    """
    names = [name for counts in splits.values() for name in counts["files"]]
    files = {name: {"size": (folder / name).stat().st_size, "sha256": sums[name]} for name in names}
    manifest = {
        "format": FORMAT_VERSION,
        "corpus": dict(corpus),
        "split": dict(split_rule),
        "settings": dict(settings),
        "tokenizer": tokenizer_name,
        "vocab_size": tokenizer.vocab_size,
        "end_of_text": tokenizer.end_of_text,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "dtype": token_dtype(tokenizer.vocab_size).name,
        "shard_tokens": shard_tokens,
        "splits": {name: dict(counts) for name, counts in splits.items()},
        "files": {**files, TOKENIZER: _describe(folder / TOKENIZER)},
    }
    write_json(folder / MANIFEST, {**manifest, "checksum": _hash_of(manifest)})


def open_shards(
    folder: Path,
    *,
    verify: bool = False,
    on_progress: Callable[[str, float], None] | None = None,
) -> Shards:
    """Open a folder after checking its files against their checksums.

    A file that was found right before and has not changed since (by size, modification time and
    inode) is not read again, unless `verify` asks for it. `on_progress` gets a line for people and
    the fraction of the bytes checked.

    Raises `ShardError`, which names the file, if anything is missing, incomplete, damaged or of
    another format.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest["files"], {} if verify else _read_stamps(folder), on_progress)
    try:
        tokenizer = Tokenizer.from_json((folder / TOKENIZER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unusable(folder / TOKENIZER, str(error)) from error
    train, validation = (_map_split(folder, name, manifest) for name in SPLITS)
    return Shards(folder, manifest, tokenizer, train, validation)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of a folder after checking it against its own checksum.

    Raises `ShardError` if it is missing, damaged or of another format.
    """
    path = folder / MANIFEST
    if not path.exists():
        raise _unusable(path, "it is missing, so the folder was never completed")
    try:
        manifest = read_json(path)
    except RunError as error:
        raise _unusable(path, str(error)) from error
    if not isinstance(manifest, dict):
        raise _unusable(path, "it is not a JSON object")
    if manifest.get("format") != FORMAT_VERSION:
        raise _unusable(
            path, f"it has format {manifest.get('format')!r}, this adana reads {FORMAT_VERSION}"
        )
    content = {key: value for key, value in manifest.items() if key != "checksum"}
    if manifest.get("checksum") != _hash_of(content):
        raise _unusable(path, "its content does not match its own checksum")
    return manifest


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the little-endian unsigned type that holds every id below `vocab_size`."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def _map_split(folder: Path, split: str, manifest: Mapping[str, Any]) -> Tokens:
    dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
    counts = manifest["splits"][split]
    paths = [folder / name for name in counts["files"]]
    size = sum(manifest["files"][path.name]["size"] for path in paths)
    if not paths or counts["tokens"] * dtype.itemsize != size:
        raise _unusable(
            folder / shard_name(split, 0),
            f"the sizes of the files do not fit the {dtype.name} tokens of {MANIFEST}",
        )
    try:
        return Tokens(paths, dtype, manifest["shard_tokens"])
    except (OSError, ValueError) as error:
        raise _unusable(paths[0], str(error)) from error


def _check_files(
    folder: Path,
    files: Mapping[str, Mapping[str, Any]],
    stamps: Mapping[str, Any],
    on_progress: Callable[[str, float], None] | None,
) -> None:
    """Check every file that its stamp does not vouch for, and keep the stamps of what is right."""
    total = sum(expected["size"] for expected in files.values())
    done, good = 0, {}
    for name, expected in files.items():
        path = folder / name
        stamp = _check_file(path, expected, stamps.get(name))
        done += expected["size"]
        if on_progress:
            on_progress("checking the files", done / max(1, total))
        if time.time() - stamp[1] / 1e9 > SETTLED_SECONDS:
            good[name] = stamp
    if good != dict(stamps):
        with contextlib.suppress(RunError):  # a cache that is only readable is read again
            write_json(folder / VERIFIED, good)


def _check_file(path: Path, expected: Mapping[str, Any], stamp: Any) -> list[int]:
    """Return the stamp of a file that is right: its size, modification time and inode."""
    try:
        about = path.stat()
        if about.st_size != expected["size"]:
            raise _unusable(
                path, f"it has {about.st_size} bytes, the manifest says {expected['size']}"
            )
        now = [about.st_size, about.st_mtime_ns, about.st_ino]
        if now != stamp and _describe(path)["sha256"] != expected["sha256"]:
            raise _unusable(path, "its content does not match its checksum")
        return now
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _read_stamps(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(RunError):
        stamps = read_json(folder / VERIFIED)
        if isinstance(stamps, dict):
            return stamps
    return {}


def _describe(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {
            "size": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _hash_of_split(sums: list[str]) -> str:
    """Return the hash of a split; that of its file, where it is one."""
    return sums[0] if len(sums) == 1 else _hash_of(sums)


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _unusable(path: Path, why: str) -> ShardError:
    return ShardError(
        f"{path} cannot be used: {why}. Delete the folder {path.parent} and run again: "
        "it is built anew from the corpus."
    )
