"""How many of what, in the words of a note."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return ``1 row`` or ``2 rows``: a number and its noun, whose plural `many` ends in s else."""
    return f"{count} {one if count == 1 else many or one + 's'}"
