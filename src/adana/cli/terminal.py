"""Text for the terminal, the same for every verb."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from typing import IO, Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Output:
    """A text stream that falls silent when it cannot be written any more; all else is the stream's.

    What reads a pipe may end, a terminal may close, the disk of a log may be full: whoever writes
    goes on all the same. It is said once, on standard error if that is not gone too. What the
    encoding of the stream does not have is written as question marks.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream
        self.silent = False
        """Whether nothing can be written any more."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write `text`, or drop it."""
        self._attempt(lambda: self._write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it can be written."""
        self._attempt(self.stream.flush)

    def _write(self, text: str) -> None:
        try:
            self.stream.write(text)
        except UnicodeEncodeError as error:
            known = (
                getattr(self.stream, "encoding", None) or error.encoding
            )  # the error of a table says "charmap"
            self.stream.write(text.encode(known, "replace").decode(known))

    def _attempt(self, act: Callable[[], object]) -> None:
        if self.silent:
            return
        try:
            act()
        except BlockingIOError:  # whoever reads is slow: what does not fit is dropped
            return
        except (OSError, ValueError) as error:  # ValueError: somebody closed it
            self.silent = True
            _send_to_nowhere(self.stream)
            _tell_of_silence(self.stream, error)


def unbreakable(console: Console) -> Console:
    """Return the console, which from now on falls silent where its output cannot be written."""
    if not isinstance(console.file, Output):
        console.file = cast(IO[str], Output(console.file))
    return console


def _send_to_nowhere(stream: IO[str]) -> None:
    """Let what a stream still holds, and whatever else is written there, go nowhere.

    Else it would be tried again, in vain, when the interpreter ends.
    """
    with contextlib.suppress(OSError, ValueError, AttributeError):  # not every stream is a file
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, stream.fileno())
        finally:
            os.close(nowhere)


def _tell_of_silence(stream: IO[str], error: Exception) -> None:
    other = getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # below a bar that is shown
    if stream is other:
        return
    why = getattr(error, "strerror", None) or error
    text = f"adana: output can no longer be written ({why}); the command goes on without it"
    try:
        print(text, file=other, flush=True)
    except (OSError, ValueError):
        _send_to_nowhere(other)


def say(console: Console, text: str) -> None:
    """Print one line as it is: no markup, no colours, no wrapping."""
    unbreakable(console).print(text, markup=False, highlight=False, soft_wrap=True)


def print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print (name, text) rows in two columns, the text wrapped within its own."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", min_width=14, style="bold")
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name), Text(text))
    unbreakable(console).print(grid)
