"""Files with many documents, a row each: .jsonl and .parquet, read from any row on."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adana.data.bad_rows import BadDocument, RowRules
from adana.data.digests import FileDigests
from adana.data.documents import AnyDocument, Document, Reader, read_blocks, unreadable
from adana.data.errors import BadText, CorpusError
from adana.data.extras import need
from adana.data.plain_text import UTF8_MARK, check_encoding, check_regular, decode, text_offset

if TYPE_CHECKING:
    from adana.data.sources.files import Paths

SUFFIXES = (".jsonl", ".parquet")
"""Files that are read row by row."""

_PARQUET_ROWS = 1024

_HEAD_BYTES = 1 << 16
"""How much of a .jsonl file is looked at to tell what it is in as a whole."""


@dataclass(frozen=True)
class Stream:
    """Documents that are read in their own order, without a list of them."""

    fingerprint: str
    """Decides which documents, and in which order."""
    read: Callable[[Any], Reader]
    """Returns a reader that goes on at a cursor; `None` is the beginning."""
    size: int | None
    """About how many bytes of text there are, if that can be told."""
    notes: list[str]


def has_rows(path: Path) -> bool:
    """Return whether a file is read row by row."""
    return path.suffix.lower() in SUFFIXES


def read(path: Path, name: str, rules: RowRules, skip: int = 0) -> Iterator[Document]:
    """Yield the rows of a file from number `skip` on, named ``NAME:ROW`` from 1.

    An empty line of a .jsonl file, and a row whose text is null, is an empty document. Of anything
    else that is not a text, `rules` say what becomes: `BadText` names the file and row. A file of
    which nothing can be read (a broken link, one in UTF-16, a damaged .parquet) counts as one such
    row, and so does what follows where a .parquet file breaks off. Raises `CorpusError` for a
    .parquet file without a text column.
    """
    parquet = path.suffix.lower() == ".parquet"
    try:
        try:
            check_regular(path)
            file = _open_parquet(path, rules.text_field) if parquet else _open_jsonl(path)
        except BadText as error:
            if not skip:
                yield rules.bad(name, error)
            return
        with file:
            yield from (_read_parquet if parquet else _read_jsonl)(file, path, name, rules, skip)
    except OSError as error:
        raise unreadable(path, error) from error


def _open_jsonl(path: Path) -> Any:
    """Return the opened file; `BadText` if all of it seems to be in UTF-16, UTF-32 or no text."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    if not any(_is_object(line) for line in head.splitlines()):
        check_encoding(head, path, 0)
    return open(path, "rb")


def _is_object(line: bytes) -> bool:
    """Return whether a line is a JSON object in UTF-8: a row, of whatever fields."""
    try:
        return isinstance(json.loads(line.removeprefix(UTF8_MARK).decode()), dict)
    except (ValueError, RecursionError):
        return False


def _read_jsonl(file: Any, path: Path, name: str, rules: RowRules, skip: int) -> Iterator[Document]:
    offset = 0
    for number, data in enumerate(file, start=1):
        if number > skip:
            at = functools.partial(_text_of_line, data, path, number, offset)
            yield rules.document(f"{name}:{number}", functools.partial(at, field=rules.text_field))
        offset += len(data)


def _text_of_line(data: bytes, path: Path, number: int, offset: int, *, field: str) -> str:
    """Return the text of one JSON line, with the file and line in every complaint."""
    line = decode(data.removeprefix(UTF8_MARK) if number == 1 else data, path, offset)
    return _text_of_json(line, path, number, field) if line.strip() else ""


def _text_of_json(line: str, path: Path, number: int, field: str) -> str:
    where = f"{path}, line {number}"
    advice = f'Each line must be a JSON object such as {{"{field}": "..."}}.'
    if number == 1 and line.lstrip().startswith("["):
        raise BadText(
            f"{where}: this is a JSON array, write one object a line (`jq -c '.[]'`). {advice}"
        )
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadText(f"{where}: not valid JSON ({error}). {advice}") from error
    if isinstance(value, dict) and field in value and value[field] is None:
        return ""
    text = value.get(field) if isinstance(value, dict) else None
    if not isinstance(text, str):
        raise BadText(
            f'{where}: no string field "{field}". {advice} Another name is given by --text-field.'
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadText(
            f'{where}: "{field}" has half of a surrogate pair at character {error.start}, which is '
            "no Unicode text. Write the file again from its source, or remove the line."
        ) from error
    return text


def _read_parquet(
    file: Any, path: Path, name: str, rules: RowRules, skip: int
) -> Iterator[Document]:
    for first, batch in _batches(file, path, rules.text_field, skip):
        if isinstance(batch, BadText):
            yield rules.bad(f"{name} from row {first + 1} on", batch, rest=True)
            return
        rows = batch.column(0).slice(max(0, skip - first))
        for number, row in enumerate(rows, start=max(first, skip) + 1):
            text = functools.partial(_text_of_row, row, path, number)
            yield rules.document(f"{name}:{number}", text)


def _batches(file: Any, path: Path, field: str, skip: int) -> Iterator[tuple[int, Any]]:
    """Yield how many rows come before a batch, and the batch, from the one with row `skip` on.

    Where the file is damaged, the error comes in place of the batch, and nothing after it.
    """
    first = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if first + count <= skip:
            first += count
            continue
        batches = file.iter_batches(_PARQUET_ROWS, row_groups=[group], columns=[field])
        while True:
            try:
                batch = next(batches, None)
            except Exception as error:
                if not _is_damage(error):
                    raise
                yield first, BadText(f"{path} is damaged after row {first}: {_said(error)}")
                return
            if batch is None:
                break
            if first + batch.num_rows > skip:
                yield first, batch
            first += batch.num_rows


def _is_damage(error: Exception) -> bool:
    """Return whether an error of pyarrow is about the content of a file.

    Its decompressors raise an `OSError` without a number; the system's have one.
    """
    pyarrow = need("pyarrow", "reading parquet")
    if isinstance(error, OSError):
        return error.errno is None
    machine = MemoryError, pyarrow.lib.ArrowCancelled
    return isinstance(error, pyarrow.ArrowException) and not isinstance(error, machine)


def _said(error: Exception) -> str:
    """Return what pyarrow says of a damaged file, in one line, and what to do about it."""
    why = " ".join(str(error).split()).rstrip(".")
    return f"{why}. Fetch or write it again, or move it out of the corpus."


def _text_of_row(row: Any, path: Path, number: int) -> str:
    """Return the text of one row, empty for null; `BadText` names it if it is not UTF-8."""
    try:
        return row.as_py() or ""
    except UnicodeDecodeError as error:
        raise BadText(
            f"{path}, row {number}: not valid UTF-8 (byte {error.object[error.start]:#04x} at "
            f"offset {error.start} of the text). Write the file again from its source, or remove "
            "the row."
        ) from error


def _open_parquet(path: Path, field: str) -> Any:
    """Return the opened file after checking that it has a column `field` of text.

    Raises `BadText` if it is damaged, `CorpusError` if it has no such column.
    """
    pyarrow = need("pyarrow", f"reading {path}")
    parquet = need("pyarrow.parquet", f"reading {path}")
    with open(path, "rb"):  # so that what the system refuses is said as for every other file
        pass
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:
        if not _is_damage(error):
            raise
        raise BadText(f"{path} is not a readable parquet file: {_said(error)}") from error
    schema = file.schema_arrow
    kind = schema.field(field).type if field in schema.names else pyarrow.null()
    if pyarrow.types.is_dictionary(kind):  # each row has the number of its text in a list
        kind = kind.value_type
    if str(kind) not in ("string", "large_string", "string_view"):
        columns = ", ".join(f"{column.name} ({column.type})" for column in schema)
        raise CorpusError(
            f'{path} has no text column "{field}" among {columns}. '
            "Name the right one with --text-field."
        )
    return file


def open_rows(paths: Paths, rules: RowRules, digests: FileDigests) -> Stream:
    """Return files, row by row in the order of their names, as a stream.

    The fingerprint covers the content of every file, so the first opening reads them all.
    """
    contents = (_content(path, rules, digests) for path in paths.paths)
    parts = [f"rows of {rules.text_field}", *contents]
    return Stream(
        fingerprint=hashlib.sha256("\n".join(parts).encode()).hexdigest(),
        read=lambda cursor: _FileReader(paths, rules, cursor),
        size=sum(_text_bytes(path, rules) for path in paths.paths),
        notes=paths.notes,
    )


def _content(path: Path, rules: RowRules, digests: FileDigests) -> str:
    """Return what tells the documents of a file from those of another."""
    try:
        check_regular(path)
    except BadText as error:
        return f"no file: {rules.bad(path.name, error).name}"
    digest = digests.of(path)
    marked = not has_rows(path) and text_offset(path)
    return f"{digest} after its byte order mark" if marked else digest


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, 0 for a link that leads nowhere."""
    return path.stat().st_size if path.is_file() else 0


def _text_bytes(path: Path, rules: RowRules) -> int:
    """Return about how many bytes of text a file holds, 0 for a bad one that is left out."""
    if path.suffix.lower() != ".parquet" or not path.is_file():
        return size_on_disk(path)
    try:
        opened = _open_parquet(path, rules.text_field)
    except BadText as error:
        return rules.bad(path.name, error).size
    with opened as file:
        groups = (file.metadata.row_group(i) for i in range(file.num_row_groups))
        columns = (group.column(i) for group in groups for i in range(group.num_columns))
        return sum(
            c.total_uncompressed_size for c in columns if c.path_in_schema == rules.text_field
        )


def _whole_text(path: Path) -> str:
    return "".join(text for _, _, text in read_blocks(path))


class _FileReader:
    """Reads files one after the other; the cursor is the file's number and the row in it."""

    def __init__(self, paths: Paths, rules: RowRules, cursor: list[int] | None) -> None:
        self._paths, self._rules = paths, rules
        self._file, self._row = cursor or (0, 0)

    def __iter__(self) -> Iterator[AnyDocument]:
        """Yield the documents from the cursor on."""
        while self._file < len(self._paths.paths):
            path = self._paths.paths[self._file]
            name = path.relative_to(self._paths.root).as_posix()
            if has_rows(path):
                documents = read(path, name, self._rules, self._row)
            else:
                documents = self._whole(path, name)
            rest = None
            for document in documents:
                if isinstance(document, BadDocument) and document.rest:
                    rest = document
                    break
                self._row += 1
                yield document
            self._file, self._row = self._file + 1, 0
            if rest is not None:  # the cursor behind it is at the next file
                yield rest

    def _whole(self, path: Path, name: str) -> Iterator[Document]:
        if self._row == 0:
            yield self._rules.document(name, functools.partial(_whole_text, path))

    def cursor(self) -> list[int]:
        """Return the number of the file and of the row in it that come next."""
        return [self._file, self._row]
