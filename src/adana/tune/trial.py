"""What became of one configuration, and what tells it: the contract between search and training.

A search knows nothing of what it tunes. It asks an `Objective` for what is known already, and for
the job that finds out what is not. `FunctionObjective` makes one of any function `config -> loss`;
`adana.ladder.TrainingObjective` of run directories.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import pickle
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from adana.tune.engine import Emit, Result, Work

Config = Mapping[str, Any]
"""Hyperparameters by name: plain JSON values."""


@dataclass(frozen=True)
class Trial:
    """What became of one configuration."""

    config: Config
    loss: float = math.inf
    """Infinite if it diverged, which is a result."""
    seconds: float = 0.0
    """Device-seconds that it took."""
    tokens: int = 0
    """Tokens that it was trained on; 0 where nobody said."""
    error: str = ""
    """Why there is no loss: it crashed. Not a result; it is run again the next time."""


class Stopped(KeyboardInterrupt):
    """The search was interrupted; what is finished is kept, and the same call goes on."""


class Objective(Protocol):
    """What a search asks of whatever it tunes."""

    def key(self, config: Config) -> str:
        """Return the identity of a configuration: the same one is never run twice."""

    def recall(self, config: Config) -> Trial | None:
        """Return what is known of a configuration, or None if it was not run to its end."""

    def job(self, config: Config) -> tuple[Work, Any]:
        """Return the work and its payload that find out about a configuration."""

    def record(self, config: Config, result: Result) -> Trial | None:
        """Keep what a job returned; None if it was interrupted before its end."""


def config_key(config: Config) -> str:
    """Return 16 hex digits that identify a configuration.

    Raises:
        ValueError: a value is not plain JSON (a number, text, truth value, list, or None).
    """
    try:
        text = json.dumps(config, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"a configuration must hold plain JSON values: {error}") from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Call:
    """What a worker process is sent: the function itself, by name, and its argument."""

    function: Callable[[dict[str, Any]], float]
    config: dict[str, Any]


def _call(payload: _Call, emit: Emit) -> tuple[float, float]:
    """Return the loss of a configuration, and the seconds it took."""
    begun = time.monotonic()
    loss = as_loss(payload.function, payload.function(payload.config))
    return loss, time.monotonic() - begun


def as_loss(function: Callable[..., Any], value: Any) -> float:
    """Return what an objective returned as a number.

    Numbers of NumPy and arrays or tensors of one element are; text, truth values and nothing are
    not, for they are a mistake in the objective that would make a search choose by chance.

    Raises:
        TypeError: it is no number; the message names the objective.
    """
    kind = str(getattr(value, "dtype", ""))  # of NumPy and torch, which keep truth values too
    if not isinstance(value, bool | str | bytes | None) and not kind.endswith(("bool", "bool_")):
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError):
            pass  # it says what was wanting, but not of which function
    raise TypeError(
        f"the objective {called(function)} must return a loss, a number (NaN or an infinity for a "
        f"training that diverged); it returned {value!r} ({type(value).__name__})"
    )


def called(function: Callable[..., Any]) -> str:
    """Return the name of an objective for messages: ``train.loss_of``."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{name}"


def check_importable(function: Callable[..., Any]) -> None:
    """Raise `ValueError` for a function that other processes cannot import by its name."""
    try:
        pickle.dumps(function)
    except Exception as error:  # PicklingError, AttributeError, TypeError: by what it is
        raise ValueError(
            f"the objective {called(function)} cannot be sent to worker processes ({error}): they "
            "import it by its name, so it must stand at the top of a module. Move it there, or "
            "run it in this process, workers=0"
        ) from error


class FunctionObjective:
    """Any function `config -> loss` as an objective, with a file that remembers its results.

    Args:
        function: a top-level function (it runs in other processes); NaN or an infinity says that
            the training diverged, an exception that it failed.
        file: JSON lines, a result each, appended as they come. Keep one file for one function and
            data: nothing in it says what else the loss depended on. Default None: results are
            forgotten with this object.
        tokens: tokens that a configuration is trained on, for the budget.

    Raises:
        ValueError: the file has a line that is not a result.
    """

    def __init__(
        self,
        function: Callable[[dict[str, Any]], float],
        file: Path | str | None = None,
        tokens: Callable[[Config], int] = lambda config: 0,
    ) -> None:
        self.function, self.tokens = function, tokens
        self.file = file = None if file is None else Path(file)
        self._known: dict[str, Trial] = {}
        if file is not None and file.exists():
            self._read(file)

    def key(self, config: Config) -> str:
        """Return the identity of a configuration."""
        return config_key(config)

    def recall(self, config: Config) -> Trial | None:
        """Return the remembered result of a configuration."""
        return self._known.get(self.key(config))

    def job(self, config: Config) -> tuple[Work, Any]:
        """Return the call of the function in a worker process."""
        return _call, _Call(self.function, dict(config))

    def record(self, config: Config, result: Result) -> Trial | None:
        """Remember what the function returned."""
        if result.error:
            return Trial(config, error=result.error)
        loss, seconds = result.value
        loss = loss if math.isfinite(loss) else math.inf
        trial = Trial(config, loss, seconds, self.tokens(config))
        self._known[self.key(config)] = trial
        if self.file is not None:
            self._append(self.file, trial)
        return trial

    def _append(self, file: Path, trial: Trial) -> None:
        loss = None if math.isinf(trial.loss) else trial.loss
        row = {
            "key": self.key(trial.config),
            "config": dict(trial.config),
            "loss": loss,
            "seconds": round(trial.seconds, 3),
            "tokens": trial.tokens,
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        with open(file, "a+b") as lines:
            if lines.tell():  # a kill may have cut the last line short
                lines.seek(-1, os.SEEK_END)
                if lines.read(1) != b"\n":
                    lines.write(b"\n")
            lines.write(json.dumps(row).encode() + b"\n")
            lines.flush()
            os.fsync(lines.fileno())

    def _read(self, file: Path) -> None:
        lines = file.read_text().splitlines(keepends=True)
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line)
                loss = math.inf if row["loss"] is None else float(row["loss"])
                trial = Trial(row["config"], loss, row["seconds"], row["tokens"])
            except (ValueError, KeyError, TypeError) as error:
                if _cut_short(line):
                    continue
                raise ValueError(
                    f"line {number} of {file} is not a result of a search ({error}). "
                    "Name another file, or mend the line"
                ) from None
            self._known[config_key(trial.config)] = trial


def _cut_short(line: str) -> bool:
    """Whether a line is the beginning of a result whose writer was killed."""
    if not line.startswith('{"key"'):
        return False
    try:
        json.loads(line)
    except ValueError:
        return True
    return False
