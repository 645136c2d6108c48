"""Altair, imported when the first chart is drawn: half a second that most commands can do without.

Used as a module: `from adana.report import vega as alt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altair import *  # noqa: F403 (the names that `__getattr__` finds)
else:

    def __getattr__(name: str) -> Any:
        import altair  # noqa: PLC0415

        return getattr(altair, name)
