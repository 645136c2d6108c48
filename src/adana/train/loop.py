"""One training run, from a configuration to a summary.

The loop keeps all that a step depends on in `TrainState`, so that a checkpoint is that object and
nothing else: a run that was stopped at any moment ends with the same weights and the same metrics
as one that was not (on the CPU, with the same number of threads).
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from adana.data import BatchStream, Shards, validation_windows
from adana.nn import PFH, Enoki, count_parameters, training_flops
from adana.runs import NOT_IDENTITY, Run, RunError, State, identity, write_json
from adana.train.checkpoint import load_newest, save_checkpoint
from adana.train.config import TrainConfig, config_to_dict
from adana.train.environment import environment, peak_memory_bytes
from adana.train.evaluate import EVALUATION_COLUMNS, evaluate, training_loss
from adana.train.interrupt import InterruptFlag
from adana.train.optimizers import build_optimizer, schedule_values, set_gamma, state_bytes
from adana.train.state import Averages, TrainState
from adana.train.stopwatch import Stopwatch


@dataclass(frozen=True)
class Progress:
    """One sign of life of a run, for bars and logs."""

    step: int
    steps: int
    loss: float | None = None
    """Training loss since the last sign, if any step was made."""
    val_loss: float | None = None
    tokens_per_second: float | None = None
    message: str = ""
    """Something a person should read."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    state: State
    step: int
    reason: str = ""
    summary: dict[str, Any] | None = None


OnProgress = Callable[[Progress], None]


def train(
    config: TrainConfig, shards: Shards, run: Run, on_progress: OnProgress = lambda _: None
) -> Outcome:
    """Train, or go on training, `config` in the directory `run`.

    A run that already finished is not trained again: its summary is returned. An interrupted one
    goes on from its newest checkpoint.

    Raises:
        RunError: the directory holds another configuration, is in use, or cannot be written.
        ValueError: a setting is out of its range or does not fit the data.
    """
    config = config.resolve()
    content = config_to_dict(config, shards.fingerprint)
    run.create()
    with run.lock():
        _check_same_run(run, content)
        if run.finished:
            return Outcome("finished", config.steps, "already trained", run.summary())
        status = run.status()
        if status["state"] == "diverged":  # it would again: a diverged run is a result
            return Outcome("diverged", status["step"], status["reason"])
        trainer = Trainer(config, shards, run, on_progress)  # refuses what cannot be trained
        if not (run.path / "config.json").exists():
            write_json(run.path / "config.json", content)
        try:
            return trainer.run_to_end()
        except Exception as error:
            with contextlib.suppress(RunError):  # on a full disk this fails too: keep the cause
                run.set_status("failed", step=trainer.state.step, reason=f"{error}")
            raise


def _check_same_run(run: Run, content: dict[str, Any]) -> None:
    """Raise `RunError` if the directory holds a run with other settings."""
    if not (run.path / "config.json").exists():
        return
    other = run.config()
    if identity(other) != identity(content):
        differing = ", ".join(_differences(other, content))
        raise RunError(
            f"{run.path} holds a run with other settings ({differing}). "
            "Name another directory with --run, or delete this one."
        )


def _differences(old: Any, new: Any, at: str = "") -> list[str]:
    """Name the leaves in which two configurations differ, with both values."""
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if key not in NOT_IDENTITY]
        return [
            text for key in keys for text in _differences(old.get(key), new.get(key), f"{at}.{key}")
        ]
    return [] if old == new else [f"{at.lstrip('.')}: {old!r} there, {new!r} asked for"]


class Trainer:
    """The parts of one run, put together, and the loop over its steps."""

    def __init__(
        self, config: TrainConfig, shards: Shards, run: Run, on_progress: OnProgress
    ) -> None:
        self.config, self.shards, self.run, self.on_progress = config, shards, run, on_progress
        self.device = pick_device(config.layout.device)
        if config.layout.threads:
            torch.set_num_threads(config.layout.threads)
        if config.model.vocab_size != shards.tokenizer.vocab_size:
            raise ValueError(
                f"the model has {config.model.vocab_size} tokens, the data's tokenizer "
                f"{shards.tokenizer.vocab_size}; they must be equal"
            )
        length = config.model.sequence_length
        self.stream = BatchStream(shards.train, length, config.seed)
        self.windows = validation_windows(shards.validation, length, config.eval_tokens)
        self.token_bytes = shards.tokenizer.token_bytes()
        self.gamma = config.schedule.gamma(config.steps)
        model = Enoki(config.model, config.seed).to(self.device)
        optimizer = build_optimizer(model, config.optimizer, config.steps)
        self.state = TrainState(model, optimizer)
        self.optimizer_seconds: list[float] = []

    def run_to_end(self) -> Outcome:
        """Train from the newest checkpoint to the end, an interruption or a non-finite loss."""
        self._resume()
        write_json(self.run.path / "environment.json", self._environment())
        self.run.set_status("running", step=self.state.step)
        started = time.perf_counter() - self.state.seconds
        clock = Stopwatch()
        with InterruptFlag() as interrupted:
            if self.state.step == 0:
                with clock.paused():
                    self._evaluate()
            while self.state.step < self.config.steps:
                problem = self._step(clock)
                if problem:
                    return self._stop("diverged", problem)
                self.state.seconds = time.perf_counter() - started
                self._log(clock)
                if self._due(self.config.eval_every):
                    with clock.paused():
                        problem = self._evaluate()
                    if problem:
                        return self._stop("diverged", problem)
                if interrupted or self._due(self.config.layout.checkpoint_every):
                    with clock.paused():
                        self._checkpoint()
                if interrupted and self.state.step < self.config.steps:
                    assert interrupted.signal is not None
                    return self._stop("interrupted", f"by {interrupted.signal.name}")
            return self._finish()

    # --- one step -------------------------------------------------------------------------------

    def _step(self, clock: Stopwatch) -> str:
        """Make one update. Return what went wrong, or an empty string; nothing is updated then."""
        config, state = self.config, self.state
        t = state.step + 1
        set_gamma(state.optimizer, config.optimizer.lr, self.gamma(t))
        loss = self._accumulate_gradients()
        if not _finite(loss):
            return f"the training loss became {loss} at step {t}"
        norm = float(nn.utils.clip_grad_norm_(state.model.parameters(), config.clip))
        if not _finite(norm):
            return f"the norm of the gradient became {norm} at step {t} (loss {loss:.4g})"
        before = time.perf_counter()
        state.optimizer.step()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.optimizer_seconds.append(time.perf_counter() - before)
        state.step = t
        state.averages.add(loss, norm, config.clip)
        clock.count(config.tokens_per_step)
        return ""

    def _accumulate_gradients(self) -> float:
        """Leave the gradient of the mean loss over the batch in the model; return that loss.

        The batch is the same whatever the micro-batch: sequences step * B ... (step + 1) * B - 1
        of the stream.
        """
        config, state = self.config, self.state
        state.optimizer.zero_grad(set_to_none=True)
        micro = config.layout.micro_batch or config.batch_size
        first, total = state.step * config.batch_size, 0.0
        for start in range(0, config.batch_size, micro):
            count = min(micro, config.batch_size - start)
            tokens = torch.from_numpy(self.stream.batch(first + start, count)).to(self.device)
            loss, cross_entropy = training_loss(state.model, tokens, config.z_coeff)
            share = count / config.batch_size
            (loss * share).backward()
            total += float(cross_entropy) * share
        return total

    # --- what is written --------------------------------------------------------------------------

    def _due(self, every: int | None) -> bool:
        step = self.state.step
        return step == self.config.steps or bool(every and step % every == 0)

    def _log(self, clock: Stopwatch) -> None:
        state, config = self.state, self.config
        if not self._due(config.log_every):
            return
        rate = clock.rate()
        row = state.averages.row()
        state.averages = Averages()
        t = state.step
        self.run.append_metrics(
            {
                "step": t,
                "tokens": t * config.tokens_per_step,
                **row,
                "schedule": schedule_values(state.optimizer, self.gamma(t), t),
                "timing": {
                    "seconds": round(state.seconds, 3),
                    "tokens_per_second": round(rate, 1),
                    "optimizer_ms": round(1e3 * statistics.median(self.optimizer_seconds), 4),
                },
            }
        )
        self.optimizer_seconds.clear()
        self.on_progress(Progress(t, config.steps, loss=row["train_loss"], tokens_per_second=rate))

    def _evaluate(self) -> str:
        """Evaluate and write the row. Return what is wrong with the loss, or an empty string."""
        state, config = self.state, self.config
        result = evaluate(state.model, self.windows, self.token_bytes, self.device)
        self.run.append_metrics(
            {
                "step": state.step,
                "tokens": state.step * config.tokens_per_step,
                **result.columns(),
                "timing": {"seconds": round(state.seconds, 3)},
            }
        )
        self.on_progress(Progress(state.step, config.steps, val_loss=result.loss))
        if not _finite(result.loss):
            return f"the validation loss became {result.loss} at step {state.step}"
        return ""

    def _checkpoint(self) -> None:
        state = {
            "identity": self._identity(),
            "threads": torch.get_num_threads(),
            **self.state.state_dict(),
        }
        save_checkpoint(self.run.checkpoints, self.state.step, state, self.config.layout.keep)
        self.run.set_status("running", step=self.state.step)

    def _resume(self) -> None:
        """Continue from the newest whole checkpoint, and drop the metrics written after it."""
        saved = load_newest(self.run.checkpoints, self._say)
        if saved is not None:
            if saved["identity"] != self._identity():
                raise RunError(
                    f"the checkpoint in {self.run.checkpoints} belongs to another configuration. "
                    "Delete it to start this run from the beginning."
                )
            self.state.load_state_dict(saved)
            self._say(f"going on from step {self.state.step}")
            if saved["threads"] != torch.get_num_threads():
                self._say(
                    f"it was begun with {saved['threads']} threads and goes on with "
                    f"{torch.get_num_threads()}: the end is the same up to rounding only"
                )
        # Without a checkpoint the run starts over, with its first evaluation: keep no row at all.
        self.run.truncate_metrics(self.state.step if saved is not None else -1)

    def _stop(self, how: State, reason: str) -> Outcome:
        self.run.set_status(how, step=self.state.step, reason=reason)
        return Outcome(how, self.state.step, reason)

    def _finish(self) -> Outcome:
        """Sum the run up from its metrics, which cover all sessions, and mark it finished."""
        state, config = self.state, self.config
        rows = list(self.run.metrics())
        if not any("val_loss" in row and row["step"] == state.step for row in rows):
            raise RunError(
                f"{self.run.path / 'metrics.jsonl'} lacks the last evaluation, though the weights "
                "are there: rows were lost. Delete the run directory and train again."
            )
        training = [row for row in rows if "train_loss" in row]
        evaluation = [row for row in rows if "val_loss" in row][-1]
        timing = [row["timing"] for row in training]
        counts = count_parameters(config.model)
        tokens = config.steps * config.tokens_per_step
        flops = training_flops(config.model, tokens)
        summary = {
            **{key: evaluation[key] for key in EVALUATION_COLUMNS},
            "train_loss": training[-1]["train_loss"],
            "steps": config.steps,
            "tokens": tokens,
            "eval_tokens": int(self.windows[:, 1:].size),
            "epochs": tokens / len(self.shards.train),
            "compute": flops["6PD"] / PFH,
            "flops": flops,
            "non_embedding_parameters": counts.non_embedding,
            "parameters": counts.total,
            "exact_parameters": counts.exact,
            "seconds": round(state.seconds, 3),
            "tokens_per_second": statistics.median(t["tokens_per_second"] for t in timing),
            "optimizer_ms": statistics.median(t["optimizer_ms"] for t in timing),
            "optimizer_state_bytes": state_bytes(state.optimizer),
            "peak_memory_bytes": peak_memory_bytes(self.device),
        }
        write_json(self.run.path / "summary.json", summary)
        self.run.set_status("finished", step=state.step)
        return Outcome("finished", state.step, summary=summary)

    def _environment(self) -> dict[str, Any]:
        manifest = self.shards.manifest
        return {**environment(self.device), "corpus": manifest.get("corpus", {})}

    def _identity(self) -> str:
        return identity(config_to_dict(self.config, self.shards.fingerprint))

    def _say(self, message: str) -> None:
        self.on_progress(Progress(self.state.step, self.config.steps, message=message))


def pick_device(name: str) -> torch.device:
    """Return the torch device called `name`; "auto" is the first GPU, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} cannot be used here: {str(error).splitlines()[0]}"
        ) from error
    return device


def _finite(x: float) -> bool:
    return x - x == 0.0
