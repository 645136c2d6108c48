"""What changes how an optimizer works, until it is removed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Handle(ABC):
    """Something attached to an optimizer; leaving a `with` block removes it."""

    @abstractmethod
    def remove(self) -> None:
        """Let the optimizer work as it did before."""

    def __enter__(self) -> Self:
        """Return the handle."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove it."""
        self.remove()
