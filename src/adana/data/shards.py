"""Shards: the tokens of a corpus on disk, written so that half of them never look like all.

One folder holds::

    train.bin, validation.bin   token ids, little-endian uint16 or uint32, end-of-text after each
                                document
    tokenizer.json              what made them
    manifest.json               counts, where the text came from, size and checksum of every file

Each file is written under a temporary name, synced and renamed, and the manifest comes last: a
folder without one is incomplete. Opening checks every byte, so nobody trains on damaged data.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adana.data.errors import ShardError
from adana.data.tokenizer import Tokenizer
from adana.runs import RunError, read_json, write_bytes, write_json

FORMAT_VERSION = 1
"""Version of the folder's format; raised when the files change their meaning."""

MANIFEST = "manifest.json"
TOKENIZER = "tokenizer.json"
SPLITS = ("train", "validation")


@dataclass(frozen=True)
class Shards:
    """Verified tokens, opened for reading; made by `open_shards`."""

    folder: Path
    """Where the files are."""
    manifest: dict[str, Any]
    """The content of ``manifest.json``."""
    tokenizer: Tokenizer
    """The tokenizer that made the tokens."""
    train: np.memmap
    """Training tokens, ``(tokens,)`` of uint16 or uint32, read-only."""
    validation: np.memmap
    """Validation tokens, ``(tokens,)`` of uint16 or uint32, read-only."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over both splits and the tokenizer: equal exactly if the tokens are the same."""
        return _hash_of({name: self.manifest["files"][name]["sha256"] for name in _data_files()})

    def bytes_per_token(self, split: str = "validation") -> float:
        """Return the mean bytes of text a token of ``train`` or ``validation`` stands for."""
        counts = self.manifest["splits"][split]
        return float(counts["bytes"] / counts["tokens"])


def write_split(
    folder: Path, split: str, documents: Iterable[np.ndarray], tokenizer: Tokenizer
) -> dict[str, int]:
    """Write ``SPLIT.bin``: the ids of each document in turn, each followed by end-of-text.

    Returns the counts ``tokens`` (ends of text included), ``documents`` and ``bytes`` (of the text
    the tokens stand for). Raises `OSError` if the disk does; nothing is left under the final name.
    """
    path = folder / f"{split}.bin"
    temporary = path.with_name(path.name + ".part")
    dtype, lengths = token_dtype(tokenizer.vocab_size), tokenizer.token_bytes()
    end = np.array([tokenizer.end_of_text], dtype=dtype)
    counts = {"tokens": 0, "documents": 0, "bytes": 0}
    with open(temporary, "wb") as file:
        for ids in documents:
            file.write(ids.astype(dtype).tobytes() + end.tobytes())
            counts["tokens"] += len(ids) + 1
            counts["documents"] += 1
            counts["bytes"] += int(lengths[ids].sum())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return counts


def write_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """Write ``tokenizer.json``."""
    write_bytes(folder / TOKENIZER, tokenizer.to_json().encode())


def write_manifest(
    folder: Path,
    *,
    tokenizer: Tokenizer,
    splits: Mapping[str, Mapping[str, int]],
    corpus: Mapping[str, Any],
    split_rule: Mapping[str, Any],
) -> None:
    """Write ``manifest.json``, which makes the folder complete; call it after everything else.

    `splits` has what `write_split` returned for each split; `corpus` and `split_rule` say where
    the text came from and how it was divided.
    """
    manifest = {
        "format": FORMAT_VERSION,
        "corpus": dict(corpus),
        "split": dict(split_rule),
        "vocab_size": tokenizer.vocab_size,
        "tokenizer_fingerprint": tokenizer.fingerprint,
        "dtype": token_dtype(tokenizer.vocab_size).name,
        "splits": {name: dict(counts) for name, counts in splits.items()},
        "files": {name: _describe(folder / name) for name in _data_files()},
    }
    write_json(folder / MANIFEST, {**manifest, "checksum": _hash_of(manifest)})


def open_shards(folder: Path) -> Shards:
    """Open a folder of tokens after checking the size and SHA-256 of every file in it.

    Raises `ShardError` that names the file that is missing, damaged or of another format.
    """
    manifest = _read_manifest(folder)
    for name in _data_files():
        _check_file(folder / name, manifest["files"][name])
    try:
        tokenizer = Tokenizer.from_json((folder / TOKENIZER).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unusable(folder / TOKENIZER, str(error)) from error
    dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
    train, validation = (_map_split(folder, name, dtype, manifest) for name in SPLITS)
    return Shards(folder, manifest, tokenizer, train, validation)


def token_dtype(vocab_size: int) -> np.dtype:
    """Return the little-endian unsigned type that holds every id below `vocab_size`."""
    return np.dtype("<u2" if vocab_size <= 2**16 else "<u4")


def _map_split(folder: Path, split: str, dtype: np.dtype, manifest: Mapping[str, Any]) -> np.memmap:
    path = folder / f"{split}.bin"
    expected = manifest["splits"][split]["tokens"] * dtype.itemsize
    if expected != manifest["files"][path.name]["size"]:
        raise _unusable(path, f"its size does not fit the {dtype.name} tokens of {MANIFEST}")
    try:
        return np.memmap(path, dtype=dtype, mode="r")
    except (OSError, ValueError) as error:
        raise _unusable(path, str(error)) from error


def _read_manifest(folder: Path) -> dict[str, Any]:
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


def _check_file(path: Path, expected: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size
        if size != expected["size"]:
            raise _unusable(path, f"it has {size} bytes, the manifest says {expected['size']}")
        if _describe(path)["sha256"] != expected["sha256"]:
            raise _unusable(path, "its content does not match its checksum")
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _describe(path: Path) -> dict[str, Any]:
    with open(path, "rb") as file:
        return {
            "size": os.fstat(file.fileno()).st_size,
            "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
        }


def _data_files() -> list[str]:
    return [*(f"{split}.bin" for split in SPLITS), TOKENIZER]


def _hash_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _unusable(path: Path, why: str) -> ShardError:
    return ShardError(
        f"{path} cannot be used: {why}. Delete the folder {path.parent} and run again: "
        "it is built anew from the corpus."
    )
