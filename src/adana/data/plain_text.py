"""From the bytes of a file to its text: UTF-8, or an error that says what it looks like instead."""

from __future__ import annotations

from pathlib import Path

from adana.data.errors import BadText, NotUtf8

UTF8_MARK = b"\xef\xbb\xbf"
"""The byte order mark that some editors put before UTF-8: it is no part of the text."""

NUL_SHARE = 0.01
"""Share of NUL bytes above which something is no text: there is no reason for one in a text."""

FEW_NULS = 4
"""So many are let through however short the text is."""

_WIDE_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""What a file is in that begins so; the longer marks come first."""


def text_offset(path: Path) -> int:
    """Return where the text of a file begins, in bytes: after the byte order mark if it has one.

    Raises `BadText` if it is no regular file, `OSError` if it cannot be opened.
    """
    check_regular(path)
    with path.open("rb") as file:
        return len(UTF8_MARK) if file.read(len(UTF8_MARK)) == UTF8_MARK else 0


def check_regular(path: Path) -> None:
    """Raise `BadText` for what is no file to read, such as a link that leads nowhere."""
    if not path.is_file():
        raise BadText(
            f"{path} is not a regular file (a broken link, a pipe?). "
            "Remove it from the corpus, or put the text in its place."
        )


def decode(data: bytes, path: Path, offset: int) -> str:
    """Decode bytes that begin at `offset` of a file.

    Raises `NotUtf8`, which says which byte is wrong, or in which encoding the file seems to be.
    """
    check_encoding(data, path, offset)
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise NotUtf8(
            f"{path} is not valid UTF-8: byte {data[error.start]:#04x} at offset "
            f"{offset + error.start}. Convert it from what it was written in (for example "
            "`iconv -f latin1 -t utf-8`), or move it out of the corpus."
        ) from error


def check_encoding(data: bytes, path: Path, offset: int) -> None:
    """Raise `NotUtf8` for bytes at `offset` of a file that seem to be in UTF-16, UTF-32 or no text.

    They are known by the byte order mark of the file, or by their NULs.
    """
    wide = _wide_mark(data) if offset == 0 else None
    if wide:
        raise NotUtf8(
            f"{path} is text in {wide}, by the byte order mark it begins with; expected UTF-8. "
            f"Convert it (`iconv -f {wide.lower()} -t utf-8`), or move it out of the corpus."
        )
    if b"\0" in data:
        _check_nuls(data, path, offset)


def _wide_mark(data: bytes) -> str | None:
    """Return the encoding whose byte order mark begins the bytes, if one does."""
    return next((name for mark, name in _WIDE_MARKS.items() if data.startswith(mark)), None)


def _check_nuls(data: bytes, path: Path, offset: int) -> None:
    """Raise `NotUtf8` if so many bytes are NUL that this is another encoding, or no text."""
    count = data.count(0)
    if count <= max(FEW_NULS, NUL_SHARE * len(data)):
        return
    encoding = _encoding_by_nuls(data, offset)
    advice = "It seems to be no text: move it out of the corpus."
    if encoding:
        advice = (
            f"It looks like text in {encoding.upper()} without a byte order mark: convert it "
            f"(`iconv -f {encoding} -t utf-8`), or move it out of the corpus."
        )
    raise NotUtf8(
        f"{path} is not text in UTF-8: {count} of {len(data)} bytes from offset {offset} are NUL. "
        f"{advice}"
    )


def _encoding_by_nuls(data: bytes, offset: int) -> str | None:
    """Return the encoding that puts NUL bytes where these are, if there is one."""
    places = [data[(place - offset) % 4 :: 4].count(0) for place in range(4)]
    count = sum(places)
    if count > 0.6 * len(data):
        return "utf-32le" if places[0] < places[3] else "utf-32be"
    odd = places[1] + places[3]
    if odd > 0.9 * count:
        return "utf-16le"
    return "utf-16be" if odd < 0.1 * count else None
