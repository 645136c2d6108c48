"""Which signals ask for an end: Ctrl-C, those of schedulers, and that of a lost terminal."""

from __future__ import annotations

import signal
from collections.abc import Iterable

SCHEDULER_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""What schedulers send before they kill, what SLURM's --signal=USR1@120 sends, and what comes when
the terminal is closed or the connection to it is lost."""
SIGNALS = (signal.SIGINT, *SCHEDULER_SIGNALS)
"""Those, and Ctrl-C."""


def heeded(signals: Iterable[signal.Signals]) -> list[signal.Signals]:
    """Return those to be handled: all but a SIGHUP that is ignored, as `nohup` has it."""
    return [
        number
        for number in signals
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN
    ]
