"""Data sets in the Hugging Face hub's layout, streamed through `datasets`.

`hub:OWNER/NAME` and `hub:OWNER/NAME/CONFIG` name a data set of the hub, `hub:FOLDER` a local copy
of one (such as a clone). The revision is resolved first, with one question that fails at once when
nobody answers, and is part of the fingerprint: the same name tomorrow may be another text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adana.data.config import DataConfig
from adana.data.digests import FileDigests
from adana.data.documents import AnyDocument, Document
from adana.data.errors import CorpusError, Unreachable
from adana.data.extras import need
from adana.data.sources.rows import Stream
from adana.data.split import BYTES_PER_TOKEN

PREFIX = "hub:"
"""What the name of a hub data set begins with."""

SHORTHANDS = {
    "fineweb-10bt": "hub:HuggingFaceFW/fineweb/sample-10BT",
    "fineweb-100bt": "hub:HuggingFaceFW/fineweb/sample-100BT",
}
"""Short names of the corpora that the published runs used (spec/training.md section 4)."""

KNOWN_TOKENS = {SHORTHANDS["fineweb-10bt"]: 10**10, SHORTHANDS["fineweb-100bt"]: 10**11}
"""About how many GPT-2 tokens a data set has, by its own name."""

TIMEOUT = 10.0
"""Seconds to wait for the hub's answer to the first question."""


def is_hub(source: str) -> bool:
    """Return whether a corpus name stands for a hub data set."""
    return source in SHORTHANDS or source.startswith(PREFIX)


def open_hub(config: DataConfig, digests: FileDigests) -> Stream:
    """Return the documents of a hub data set as a stream.

    Raises `Unreachable` if the hub does not answer, and `CorpusError` if it has no such data set;
    reading raises it if `datasets` is not installed, or if there is no such configuration, split or
    text field. Tokens that are in the cache are thus found by asking for the revision only.
    """
    full = SHORTHANDS.get(config.corpus, config.corpus)
    path, subset = _parse(full)
    revision = None if Path(path).is_dir() else _revision(path, full)
    version = revision or _content_of(Path(path), digests)
    identity = ["hub", Path(path).name, subset, config.hub_split, config.text_field, version]

    def read(cursor: Any) -> _HubReader:
        return _HubReader(_load(path, subset, revision, config), full, config.text_field, cursor)

    tokens = config.limit_tokens or KNOWN_TOKENS.get(full)
    return Stream(
        fingerprint=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        read=read,
        size=tokens * BYTES_PER_TOKEN if tokens else None,
        notes=[f"{full} at revision {revision}"] if revision else [],
    )


def _parse(full: str) -> tuple[str, str | None]:
    """Split a name into what `load_dataset` wants: the data set's path and its configuration."""
    name = full.removeprefix(PREFIX)
    if name and Path(name).expanduser().is_dir():
        return str(Path(name).expanduser()), None
    parts = name.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise CorpusError(
            f"{full!r} is no name of a hub data set. Give hub:OWNER/NAME, hub:OWNER/NAME/CONFIG, "
            f"a folder in the hub's layout as hub:FOLDER, or one of {', '.join(SHORTHANDS)}."
        )
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None


def _revision(path: str, full: str) -> str:
    """Ask the hub which commit `path` is at."""
    hub = need("huggingface_hub", "the hub")
    try:
        return str(hub.HfApi().dataset_info(path, timeout=TIMEOUT).sha)
    except (hub.errors.RepositoryNotFoundError, hub.errors.HFValidationError) as error:
        raise CorpusError(
            f"the hub has no data set {path} that you may read. Check the name {full!r}; for a "
            "private or gated one accept its terms and log in (`hf auth login`)."
        ) from error
    except Exception as error:  # the library lets those of its HTTP client through
        raise Unreachable(
            f"the hub does not answer for {full!r} ({_first_line(error)}). Check the network "
            "(and HF_HUB_OFFLINE), prepare this corpus on a machine that has one and copy the "
            "cache folder, or use a local corpus: python-packages, a folder, .jsonl or .parquet."
        ) from error


def _load(path: str, subset: str | None, revision: str | None, config: DataConfig) -> Any:
    """Return the streaming data set with the text column only."""
    try:
        data = need("datasets", "a data set of the hub").load_dataset(
            path, subset, split=config.hub_split, streaming=True, revision=revision
        )
    except (ValueError, OSError) as error:  # no such configuration or split; no network
        raise CorpusError(
            f"{config.corpus!r} cannot be opened: {_first_line(error)}. Check the configuration "
            f"(hub:OWNER/NAME/CONFIG) and the split {config.hub_split!r} (--hub-split)."
        ) from error
    columns = data.column_names
    if columns is None:  # the file formats that do not say beforehand
        return data
    if config.text_field not in columns:
        raise CorpusError(
            f'{config.corpus!r} has no column "{config.text_field}" among {", ".join(columns)}. '
            "Name the right one with --text-field."
        )
    return data.select_columns([config.text_field])


def _content_of(folder: Path, digests: FileDigests) -> str:
    """Return a hash over the names and contents of the files of a local data set."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            whole.update(f"{name.as_posix()} {digests.of(path)}\n".encode())
    return whole.hexdigest()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


class _HubReader:
    """Reads a streaming data set; the cursor is the state that `datasets` keeps for that."""

    def __init__(self, data: Any, name: str, text_field: str, cursor: Any) -> None:
        self._data, self._name, self._field = data, name, text_field
        self._row = 0
        if cursor is not None:
            self._row = cursor["row"]
            data.load_state_dict(cursor["state"])

    def __iter__(self) -> Iterator[AnyDocument]:
        """Yield the documents from the cursor on."""
        try:
            for row in self._data:
                self._row += 1
                yield self._document(row)
        except CorpusError:
            raise
        except Exception as error:  # whatever the HTTP client of the day raises
            raise Unreachable(
                f"{self._name} stopped answering after document {self._row:,} "
                f"({_first_line(error)}). Run the same command again: it goes on from what is done."
            ) from error

    def cursor(self) -> dict[str, Any]:
        """Return where the next document is."""
        return {"row": self._row, "state": self._data.state_dict()}

    def _document(self, row: dict[str, Any]) -> Document:
        text = row.get(self._field)
        if not isinstance(text, str | None) or self._field not in row:
            raise CorpusError(
                f'{self._name}, document {self._row:,}: no text in the field "{self._field}" '
                f"(there are {', '.join(row)}). Name the right one with --text-field."
            )
        return Document(f"{self._name}:{self._row}", text or "")
