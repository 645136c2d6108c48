"""Data sets in the Hugging Face hub's layout, streamed through `datasets`.

`hub:OWNER/NAME` and `hub:OWNER/NAME/CONFIG` name a data set of the hub, `hub:FOLDER` and
`hub:FOLDER/CONFIG` a local copy of one (such as a clone). The revision is resolved first, with one
question that fails at once when nobody answers, and is part of the fingerprint: the same name
tomorrow may be another text.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from adana.data.bad_rows import RowRules
from adana.data.config import DataConfig
from adana.data.digests import FileDigests
from adana.data.documents import AnyDocument
from adana.data.errors import BadText, CorpusError, Unavailable, Unreachable
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

CARD = "README.md"
"""The file of a data set that lists its configurations."""

TIMEOUT = 10.0
"""Seconds to wait for the hub's answer to the first question."""


def is_hub(source: str) -> bool:
    """Return whether a corpus name stands for a hub data set."""
    return source in SHORTHANDS or source.startswith(PREFIX)


def is_remote(source: str) -> bool:
    """Return whether a corpus name stands for a data set that only the hub can give.

    Raises `CorpusError` for a name that is none.
    """
    return is_hub(source) and not Path(_parse(full_name(source))[0]).is_dir()


def full_name(source: str) -> str:
    """Return the name of a corpus with a short name of a hub data set written out."""
    return SHORTHANDS.get(source, source)


def open_hub(config: DataConfig, rules: RowRules, digests: FileDigests) -> Stream:
    """Return the documents of a hub data set as a stream, read by `rules`.

    Raises `Unreachable` if the hub does not answer, and `CorpusError` if it has no such data set;
    reading raises `Unavailable` if `datasets` is not installed, or if there is no such
    configuration or split, and `CorpusError` if there is no such text field. Tokens that are in the
    cache are thus found by asking for the revision only.
    """
    full = full_name(config.corpus)
    path, subset = _parse(full)
    revision, size = None, None
    if Path(path).is_dir():
        version, size = _content_of(Path(path), digests)
    else:
        about = _ask(path, full)
        version = revision = str(about.sha)
        size = _known_size(full) or _size_on_card(about.card_data, subset, config.hub_split)
    identity = ["hub", Path(path).name, subset, config.hub_split, config.text_field, version]

    def read(cursor: Any) -> _HubReader:
        return _HubReader(_load(path, subset, revision, config), full, rules, cursor)

    limit = config.limit_tokens and config.limit_tokens * BYTES_PER_TOKEN
    return Stream(
        fingerprint=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
        read=read,
        size=min(size, limit) if size and limit else size or limit,
        notes=[f"{full} at revision {revision}"] if revision else [],
    )


def _parse(full: str) -> tuple[str, str | None]:
    """Split a name into what `load_dataset` wants: the data set's path and its configuration."""
    name = full.removeprefix(PREFIX)
    if name and Path(name).expanduser().is_dir():
        return str(Path(name).expanduser()), None
    folder, _, subset = name.rpartition("/")
    if folder and (Path(folder).expanduser() / CARD).is_file():
        return str(Path(folder).expanduser()), subset
    parts = name.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise CorpusError(
            f"{full!r} is no name of a hub data set. Give hub:OWNER/NAME, hub:OWNER/NAME/CONFIG, "
            "a folder in the hub's layout as hub:FOLDER (hub:FOLDER/CONFIG if its "
            f"{CARD} has configurations), or one of {', '.join(SHORTHANDS)}."
        )
    return "/".join(parts[:2]), parts[2] if len(parts) == 3 else None


def _ask(path: str, full: str) -> Any:
    """Ask the hub which commit `path` is at (``sha``), and what its card says (``card_data``)."""
    hub = need("huggingface_hub", "the hub")
    try:
        return hub.HfApi().dataset_info(path, timeout=TIMEOUT)
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


def _known_size(full: str) -> int | None:
    """Return about how many bytes of text a data set has by our own knowledge, if we have any."""
    tokens = KNOWN_TOKENS.get(full)
    return tokens and tokens * BYTES_PER_TOKEN


def _size_on_card(card: Any, subset: str | None, split: str) -> int | None:
    """Return the bytes of a split that the card of a data set tells, if it does.

    Cards are written by people: whatever is not as expected tells nothing.
    """
    with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
        parts = card["dataset_info"]
        for part in parts if isinstance(parts, list) else [parts]:
            if part.get("config_name", "default") == (subset or "default"):
                return int({each["name"]: each for each in part["splits"]}[split]["num_bytes"])
    return None


def _load(path: str, subset: str | None, revision: str | None, config: DataConfig) -> Any:
    """Return the streaming data set with the text column only."""
    datasets = need("datasets", "a data set of the hub")
    try:
        data = datasets.load_dataset(
            path, subset, split=config.hub_split, streaming=True, revision=revision
        )
    except Exception as error:  # the library lets those of its HTTP client through
        if revision and not _is_missing(error, datasets):
            raise Unreachable(
                f"the hub does not answer for {config.corpus!r} ({_first_line(error)}). Check the "
                "network and run the same command again: it goes on from what is done."
            ) from error
        raise Unavailable(
            f"{config.corpus!r} cannot be opened: {_one_line(error)}. Check the configuration "
            f"(hub:OWNER/NAME/CONFIG or hub:FOLDER/CONFIG) and the split {config.hub_split!r} "
            "(--hub-split)."
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


def _is_missing(error: Exception, datasets: Any) -> bool:
    """Return whether `datasets` says that there is no such thing, not that nobody answers."""
    missing = (
        datasets.exceptions.DatasetNotFoundError,
        datasets.exceptions.DataFilesNotFoundError,
    )
    wrong = isinstance(error, ValueError) and not isinstance(error, OSError)
    return isinstance(error, missing) or wrong


def _content_of(folder: Path, digests: FileDigests) -> tuple[str, int]:
    """Return a hash over the names and contents of the files of a local data set, and their size.

    The size, in bytes, is roughly that of the text.
    """
    whole = hashlib.sha256()
    size = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            whole.update(f"{name.as_posix()} {digests.of(path)}\n".encode())
            size += path.stat().st_size
    return whole.hexdigest(), size


def _one_line(error: BaseException) -> str:
    """Return all that an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


class _HubReader:
    """Reads a streaming data set; the cursor is the state that `datasets` keeps for that."""

    def __init__(self, data: Any, name: str, rules: RowRules, cursor: Any) -> None:
        self._data, self._name, self._rules = data, name, rules
        self._row = 0
        if cursor is not None:
            self._row = cursor["row"]
            data.load_state_dict(cursor["state"])

    def __iter__(self) -> Iterator[AnyDocument]:
        """Yield the documents from the cursor on."""
        try:
            for row in self._data:
                self._row += 1
                text = functools.partial(self._text, row)
                yield self._rules.document(f"{self._name}:{self._row}", text)
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

    def _text(self, row: dict[str, Any]) -> str:
        field = self._rules.text_field
        text = row.get(field)
        if not isinstance(text, str | None) or field not in row:
            raise BadText(
                f'{self._name}, document {self._row:,}: no text in the field "{field}" '
                f"(there are {', '.join(row)}). Name the right one with --text-field."
            )
        return text or ""
