"""One session of a run: what must be true of its directory before and after the loop.

The first rank speaks for the directory; the others learn from it whether there is anything to do.
"""

from __future__ import annotations

import contextlib
from typing import Any

from adana.data import Shards, key_of_tokens, local_path
from adana.runs import NOT_IDENTITY, Run, RunError, identity, write_json
from adana.train.checkpoint import newest_identity
from adana.train.config import TrainConfig, config_to_dict
from adana.train.loop import Trainer
from adana.train.progress import WARNING, OnProgress, Outcome, Progress, ignore
from adana.train.world import World, join_world, lost_contact


def train(
    config: TrainConfig,
    shards: Shards,
    run: Run,
    on_progress: OnProgress = ignore,
    world: World | None = None,
    *,
    since: float | None = None,
) -> Outcome:
    """Train, or go on training, `config` in the directory `run`.

    A run that already finished is not trained again: its summary is returned. An interrupted one
    goes on from its newest checkpoint, on any number of ranks. Started by `torchrun`, every rank
    calls this with the same arguments; `world` is the connection between them if there is one
    already (`join_world`), else it is made here. Only the first rank reports progress. What
    `on_progress` raises ends the run, with a checkpoint of the last step, and is raised here (on
    several ranks as a `RunError`). A time limit counts from `since`, a time of `time.monotonic`, by
    default now.

    Raises:
        RunError: the directory holds another configuration, is in use, or cannot be written; or
            another rank was lost.
        ValueError: a setting is out of its range or does not fit the data.
    """
    if world is None:
        with join_world(config.layout.device) as joined:
            return train(config, shards, run, on_progress, joined, since=since)
    config = config.resolve()
    content = config_to_dict(config, shards.fingerprint)
    world = world.in_training()
    with contextlib.ExitStack() as held:
        settled = world.decide(lambda: _open(run, content, held, on_progress))
        if settled is not None:
            return settled
        trainer = None
        try:
            trainer = Trainer(config, shards, run, on_progress, world, since=since)
            world.decide(lambda: _begin(run, content))
            return trainer.run_to_end()
        except (Exception, SystemExit) as error:
            if _says_nothing(error, trainer):
                raise
            step = trainer.state.step if trainer else 0
            explained = _explain(error, step) if world.size > 1 else error
            listener = trainer.listener if trainer else None
            unheard = listener is not None and error is listener.error
            reason = listener.reason() if listener and unheard else str(explained)
            _record_failure(run, step, reason, world)
            if explained is error:
                raise
            raise explained from error


def _open(
    run: Run, content: dict[str, Any], held: contextlib.ExitStack, on_progress: OnProgress
) -> Outcome | None:
    """Lock the directory for this run; return how it ended, if it has."""
    _check_apart_from_text(run, content["data"]["corpus"])
    if run.concluded and (run.path / "config.json").exists():  # perhaps on a read-only disk
        _check_same_run(run, content)
        return _conclusion(run, content)
    run.create()
    held.enter_context(run.lock())
    _check_same_run(run, content)
    _check_same_checkpoints(run, content)
    try:
        run.status()
    except RunError:
        step = _mend_status(run, content)
        text = f"{WARNING}{run.path / 'status.json'} was damaged; it is now that of step {step}"
        on_progress(Progress(step, content["steps"], message=text))
    return _conclusion(run, content) if run.concluded else None


def _conclusion(run: Run, content: dict[str, Any]) -> Outcome:
    """Return how a concluded run ended."""
    if run.finished:
        return Outcome("finished", content["steps"], "already trained", run.summary())
    status = run.status()  # it would diverge again: that is a result
    return Outcome("diverged", status["step"], status["reason"])


def _mend_status(run: Run, content: dict[str, Any]) -> int:
    """Write a status from what else there is, and return its step.

    A run that had diverged goes on from its last checkpoint, and diverges again.
    """
    if run.summary() is not None:
        run.set_status("finished", step=content["steps"])
        return int(content["steps"])
    step = max((row["step"] for row in run.metrics()), default=0)
    run.set_status("running", step=step)
    return int(step)


def _begin(run: Run, content: dict[str, Any]) -> None:
    if not (run.path / "config.json").exists():
        write_json(run.path / "config.json", content)


def _says_nothing(error: BaseException, trainer: Trainer | None) -> bool:
    """Whether an error is none of the run's, whose directory stays as it was.

    That is a refusal, on all ranks alike, and a signal before the first step (`SystemExit`).
    """
    if isinstance(error, SystemExit):
        return trainer is None or error is not trainer.listener.error
    return trainer is None and isinstance(error, ValueError)


def _explain(error: BaseException, step: int) -> BaseException:
    """Say what a failed exchange between ranks means."""
    if isinstance(error, RunError) or not lost_contact(error):
        return error
    return RunError(
        f"lost contact with another rank after step {step}: it was killed, ran out of memory, "
        "hung or failed (see its own message). The same command goes on from the last checkpoint. "
        f"[{error}]"
    )


def _record_failure(run: Run, step: int, reason: str, world: World) -> None:
    """Write why the run failed, on the rank that holds the directory.

    The others may be late, and a new session at work: their messages say what became of them. A
    run that had come to its end stays what it is.
    """
    where = "rank 0: " if world.size > 1 else ""
    with contextlib.suppress(RunError):  # on a full disk this fails too: keep the cause
        if world.first and not run.concluded:
            run.set_status("failed", step=step, reason=f"{where}{reason}")


def _check_apart_from_text(run: Run, corpus: str) -> None:
    """Raise `RunError` for a run directory that is, or holds, the text to be trained on.

    Below the text it may be: what a run writes is left out there.
    """
    path = local_path(corpus)
    if path is None:
        return
    text, own = path.resolve(), run.path.resolve()
    if text == own or own in text.parents:
        raise RunError(
            f"{run.path} holds the text that is to be trained on ({corpus}), so it cannot be the "
            "run directory. Name another with --run."
        )


def _check_same_run(run: Run, content: dict[str, Any]) -> None:
    """Raise `RunError` if the directory holds a run with other settings."""
    if not (run.path / "config.json").exists():
        return
    other = run.config()
    if identity(other) != identity(content):
        differing = ", ".join(_differences(other, content))
        raise RunError(
            f"{run.path} holds a run with other settings ({differing}). {_advice(other, content)}"
        )


def _advice(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Say what to do about a directory whose run is another than the one asked for.

    Where the data differ, but the old run's are still in the cache, it can go on.
    """
    there, asked = (config.get("data", {}).get("fingerprint") for config in (old, new))
    key = key_of_tokens(there) if there and there != asked else None
    if key is None:
        return "Name another directory with --run, or delete this one."
    same = identity({**old, "data": {}}) == identity({**new, "data": {}})
    command = "the same command" if same else "the command that it was begun with,"
    return (
        f"Its tokens are still in the cache: {command} with --data {key} goes on. Or name another "
        "directory with --run, or delete this one."
    )


def _check_same_checkpoints(run: Run, content: dict[str, Any]) -> None:
    """Raise `RunError`, before anything is written, if the checkpoints are those of another run."""
    found = newest_identity(run.checkpoints)
    if found is not None and found != identity(content):
        raise RunError(
            f"the checkpoints in {run.checkpoints} belong to a run with other settings (its "
            f"identity is {found}, that of these settings {identity(content)}). Run the command "
            "that the directory was begun with, name another directory with --run, or delete this "
            "one."
        )


def _differences(old: Any, new: Any, at: str = "") -> list[str]:
    """Name the leaves in which two configurations differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        if at == ".data" and old.get("fingerprint") == new.get("fingerprint"):
            return []  # the same tokens, whatever they were called
        keys = [key for key in {**old, **new} if key not in NOT_IDENTITY]
        return [
            text for key in keys for text in _differences(old.get(key), new.get(key), f"{at}.{key}")
        ]
    if at == ".data.fingerprint" and old != new:
        return ["the text has changed since, or was made into tokens otherwise"]
    return [] if old == new else [f"{at.lstrip('.')}: {old!r} there, {new!r} asked for"]
