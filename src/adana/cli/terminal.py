"""Text for the terminal, the same for every verb."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text


class Output:
    """A text stream that remembers whether it could be written; all else is the stream's.

    What reads a pipe may end, a terminal may close, the disk of a log may be full. It then raises
    what the stream does, or falls silent if it `goes_on`, which is said once, on standard error if
    that is not gone too.
    """

    def __init__(self, stream: IO[str], *, goes_on: bool = False) -> None:
        self.stream, self.goes_on = stream, goes_on
        self.error: Exception | None = None
        """Why nothing can be written any more."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write `text`, or drop it."""
        self._attempt(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if it can be written."""
        self._attempt(self.stream.flush)

    def complete(self) -> bool:
        """Return whether all was written, and if not say why. It is not said of `| head`."""
        with contextlib.suppress(OSError, ValueError):
            self.flush()
        if self.lost and not isinstance(self.error, BrokenPipeError):
            _tell(f"output cannot be written ({_why(self.error)})")
        return not self.lost

    @property
    def lost(self) -> bool:
        """Whether something that the command is for could not be written."""
        return self.error is not None and not self.goes_on

    def _attempt(self, act: Callable[[], object]) -> None:
        if self.error is not None and self.goes_on:
            return
        try:
            act()
        except BlockingIOError:  # whoever reads is slow
            if not self.goes_on:
                raise
        except (OSError, ValueError) as error:  # ValueError: somebody closed it
            self.error = error
            _send_to_nowhere(self.stream)
            if not self.goes_on:
                raise
            _tell(
                f"output can no longer be written ({_why(error)}); the command goes on without it"
            )


def unbreakable(console: Console) -> Console:
    """Return the console, which from now on falls silent where its output cannot be written.

    That is for commands whose results are files. Others end there, as what they print is lost.
    """
    if isinstance(console.file, Output):
        console.file.goes_on = True
    else:
        console.file = cast(IO[str], Output(console.file, goes_on=True))
    return console


@contextlib.contextmanager
def watched_output() -> Iterator[Output]:
    """Give standard output as an `Output`, which `print` and consoles use meanwhile.

    Question marks stand for what the encodings of a terminal do not have.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    output = Output(sys.stdout or io.StringIO())  # None where it is closed, as by >&-
    with contextlib.redirect_stdout(cast(IO[str], output)):
        yield output


def _why(error: Exception | None) -> object:
    return getattr(error, "strerror", None) or error


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


def _tell(text: str) -> None:
    """Say something about the output itself, on standard error if that can be written."""
    other = getattr(sys.stderr, "rich_proxied_file", sys.stderr)  # below a bar that is shown
    try:
        print(f"adana: {text}", file=other, flush=True)
    except (OSError, ValueError):
        _send_to_nowhere(other)


def say(console: Console, text: str) -> None:
    """Print one line as it is: no markup, no colours, no wrapping."""
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def print_rows(console: Console, rows: Iterable[tuple[str, str]]) -> None:
    """Print (name, text) rows in two columns, the text wrapped within its own."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(justify="right", min_width=14, style="bold")
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(Text(name), Text(text))
    console.print(grid)
