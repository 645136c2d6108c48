"""The loop over the steps of one run.

It keeps all that a step depends on in `TrainState`, so that a checkpoint is that object and nothing
else: a run that was stopped at any moment ends with the same weights and the same metrics as one
that was not (on the CPU, with the same number of threads and ranks; else to rounding).
"""

from __future__ import annotations

import contextlib
import time
import warnings
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adana.data import (
    BatchStream,
    Prefetcher,
    ShardError,
    Shards,
    save_tokenizer,
    validation_documents,
    validation_windows,
)
from adana.dtensors import whole
from adana.nn import measure_matmul_peak, model_flops
from adana.runs import Run, RunError, State, identity, write_json
from adana.trackers import Mirror, open_trackers
from adana.train.averages import WeightAverage, parse_average
from adana.train.batches import share_of
from adana.train.checkpoint import (
    checkpoint_step,
    list_checkpoints,
    newest_whole,
    read_tensors,
    save_checkpoint,
)
from adana.train.clock import Clock
from adana.train.config import TrainConfig, config_to_dict
from adana.train.environment import (
    environment,
    hyperparameters,
    other_versions,
    peak_memory_bytes,
    session_record,
)
from adana.train.evaluate import Evaluation, evaluate
from adana.train.foreign_state import ForeignState
from adana.train.installed import blaming, code_of, package_bringing
from adana.train.interrupt import InterruptFlag
from adana.train.listener import Listener
from adana.train.optimizers import build_optimizer, schedule_values, set_gamma, state_bytes
from adana.train.parallelize import place_model
from adana.train.progress import WARNING, OnProgress, Outcome, Progress, ignore
from adana.train.record import go_back
from adana.train.state import Averages, TrainState
from adana.train.summary import summarise
from adana.train.timescales import decay_timescales
from adana.train.watch import Watch
from adana.train.world import World

CHECKPOINT_SECONDS = 30 * 60
"""How old the last checkpoint may become before another is written: what a kill can cost."""


class _Asked(NamedTuple):
    """What is to be done after a step, on all ranks alike."""

    stop: bool = False
    """Whether any rank was asked to stop."""
    save: bool = False
    """Whether the last checkpoint is too old, by the clock of the first rank."""


class Trainer:
    """The parts of one run on one rank, put together, and the loop over its steps."""

    def __init__(
        self,
        config: TrainConfig,
        shards: Shards,
        run: Run,
        on_progress: OnProgress,
        world: World,
        *,
        since: float | None = None,
    ) -> None:
        self.config, self.shards, self.run, self.world = config, shards, run, world
        if config.layout.threads:
            torch.set_num_threads(config.layout.threads)
        _check_fits(config, shards, world)
        length = config.model.sequence_length
        self.share = share_of(config, world)
        stream = BatchStream(shards.train, length, config.seed)
        self.batches = Prefetcher(stream, following=self.share.following)
        held_out = shards.validation, length, config.eval_tokens
        self.windows = validation_windows(*held_out)
        self.documents = validation_documents(*held_out, shards.tokenizer.end_of_text)
        self.token_bytes = shards.tokenizer.token_bytes()
        self.gamma = config.schedule.gamma(config.steps)
        self.model = place_model(config.model, config.seed, config.layout, world)
        model = self.model.module
        foreign = code_of(config.optimizer.name) is not None
        if foreign:  # which may draw random numbers; nothing else here draws from torch's generator
            torch.manual_seed(config.seed)
        told = on_progress is not ignore  # else they are Python's, for whoever called
        with warnings.catch_warnings(record=told) as warned:
            if told:
                # Each run its own, though it is one process; other kinds as they are filtered.
                warnings.filterwarnings("always", category=UserWarning)
            optimizer = build_optimizer(
                model, config.optimizer, config.optimizer.horizon or config.steps
            )
        self.warned = [str(each.message) for each in warned or ()]
        averages = [
            WeightAverage(parse_average(name), model, config.steps) for name in config.averages
        ]
        self.hyperparameters = hyperparameters(optimizer)
        remembered = ForeignState(model, optimizer) if foreign else None
        self.state = TrainState(model, optimizer, averages, foreign=remembered)
        self.watch = Watch(model, optimizer, wanted=config.layout.telemetry)
        trackers = open_trackers(config.layout.trackers)  # refused on all ranks, used on the first
        self.mirror = Mirror(run, trackers if world.first else [], on_message=self._say)
        self.clock = Clock(world.device)
        self.interrupted = InterruptFlag(config.layout.time_limit, since)
        self.listener = Listener(on_progress, world, self.interrupted)
        self.unwritten: RunError | None = None
        self.saved = time.monotonic()
        self.peak = self._measure_peak() if config.layout.measure_peak else None

    def run_to_end(self) -> Outcome:
        """Train from the newest checkpoint to the end, an interruption or a non-finite loss."""
        self._resume()
        for text in self.warned:
            self._say(f"{WARNING}{text}")
        self.world.decide(self._announce)
        try:
            with self.batches:
                outcome = self._run()
        except BaseException as error:
            if isinstance(error, ShardError) or error is self.listener.error:
                self._save_what_is_whole()
            self.mirror.finish("failed")
            raise
        self.mirror.finish(outcome.state, outcome.summary)
        return outcome

    def _run(self) -> Outcome:
        self.began = time.perf_counter() - self.state.seconds
        with self.interrupted:
            problem = self._evaluate() if self.world.decide(self._lacks_evaluation) else ""
            while not problem and self.state.step < self.config.steps:
                problem, asked = self._step()
                if problem:
                    break
                self._count_time()
                self._log()
                if asked.stop:  # an evaluation that is due can wait for the next session
                    self._checkpoint()
                    self.listener.check()
                    return self._stop("interrupted", self._why_stopped())
                if self._due(self.config.eval_every):
                    problem = self._evaluate()
                if not problem and (asked.save or self._checkpoint_due()):
                    self._checkpoint()
            if problem:
                return self._stop("diverged", problem)
            self.listener.check()
            return self._finish()

    # --- one step -------------------------------------------------------------------------------

    def _step(self) -> tuple[str, _Asked]:
        """Make one update.

        Returns what went wrong (nothing is updated then), or an empty string, and what is asked.
        """
        config, state, clock = self.config, self.state, self.clock
        t = state.step + 1
        set_gamma(state.optimizer, config.optimizer.lr, self.gamma(t))
        sums = self._accumulate_gradients()
        with clock.section("model"):
            norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
            stop = bool(self.interrupted) or self.listener.error is not None
            flags = [stop, self.unwritten is not None, self._overdue()]
            numbers = torch.stack([*sums, whole(norm).to(sums), *torch.tensor(flags).to(sums)])
            loss, z, norm_value, stopping, failing, overdue = self.world.mean(numbers)
        if failing:
            self._check_written()
        if not _finite(loss):
            return f"the training loss became {loss} at step {t}", _Asked()
        if not _finite(norm_value):
            problem = f"the norm of the gradient became {norm_value} at step {t}"
            return f"{problem} (loss {loss:.4g})", _Asked()
        with (
            clock.section("optimizer"),
            self.watch.step(watched=self._logged(t)),
            blaming(config.optimizer.name),
        ):
            state.optimizer.step()
        for average in state.weight_averages:
            average.update(t)
        if state.foreign is not None and t == 1:
            state.foreign.saved()  # what cannot be is better known now than at a checkpoint
        state.step = t
        state.averages.add(loss, z, norm_value, config.clip)
        clock.step(config.tokens_per_step)
        return "", _Asked(stopping > 0, overdue > 0)

    def _accumulate_gradients(self) -> Tensor:
        """Leave the gradient of the mean loss over the batch in the model.

        Returns this rank's mean cross-entropy and mean squared log-partition, float32 (2,).
        """
        state, clock, share = self.state, self.clock, self.share
        state.optimizer.zero_grad(set_to_none=True)
        requests = share.step(state.step)
        sums = torch.zeros(2, device=self.world.device)
        for number, (first, count) in enumerate(requests, start=1):
            with clock.section("data"):
                tokens = self._to_device(torch.from_numpy(self.batches.get(first, count)))
            with clock.section("model"):
                self.model.last_micro_batch(number == len(requests))
                terms = self._forward(tokens[:, :-1], tokens[:, 1:])
                (terms.loss * (count / share.size)).backward()
                sums += torch.stack([terms.cross_entropy.sum(), terms.z.sum()])
        return sums / share.size

    def _forward(self, tokens: Tensor, targets: Tensor) -> Any:
        """Return the `LossTerms` of a batch, in the precision of the run."""
        config = self.config
        chunk = config.layout.chunk(self.world.device.type, torch.is_grad_enabled())
        with self._autocast():
            return self.model.forward(tokens, targets, z_coeff=config.z_coeff, chunk=chunk)

    def _to_device(self, tokens: Tensor) -> Tensor:
        if self.world.device.type != "cuda":
            return tokens.to(self.world.device)
        return tokens.pin_memory().to(self.world.device, non_blocking=True)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)

    # --- what is written --------------------------------------------------------------------------

    def _due(self, every: int | None, step: int | None = None) -> bool:
        """Return whether something is to be done after a step, by default the one made last."""
        step = self.state.step if step is None else step
        return step == self.config.steps or bool(every and step % every == 0)

    def _logged(self, step: int) -> bool:
        return self._due(self.config.log_every, step)

    def _checkpoint_due(self) -> bool:
        layout = self.config.layout
        return self._due(layout.checkpoint_every) or self._due(layout.keep_every)

    def _overdue(self) -> bool:
        return self.world.first and time.monotonic() - self.saved > CHECKPOINT_SECONDS

    def _lacks_evaluation(self) -> bool:
        """Return whether an evaluation was due after the last step, and is not in the metrics."""
        if not self._due(self.config.eval_every):
            return False
        step = self.state.step
        rows = [row for row in self.run.metrics() if row["step"] == step]
        return not any(isinstance(row.get("val_loss"), float) for row in rows)  # "nan" is a text

    def _count_time(self) -> None:
        self.state.seconds = time.perf_counter() - self.began

    def _log(self) -> None:
        state = self.state
        if not self._logged(state.step):
            return
        lap = self.clock.lap()
        row = state.averages.row()
        state.averages = Averages()
        schedule = schedule_values(state.optimizer, self.gamma(state.step), state.step)
        self._record({**row, "schedule": schedule, **self.watch.columns()}, timing=lap)
        self._tell(loss=row["train_loss"], tokens_per_second=lap["tokens_per_second"])

    def _evaluate(self) -> str:
        """Evaluate and write the row. Return what is wrong with the loss, or an empty string."""
        self._check_written()
        with self.clock.section("evaluation"):
            result = self._measure()
            averaged = {}
            for average in self.state.weight_averages:
                if average.count:
                    with average.in_place():
                        averaged[average.rule.name] = self._measure().columns()
        self._record(result.columns() | ({"averages": averaged} if averaged else {}))
        step = self.state.step
        self._tell(val_loss=result.loss)
        if not _finite(result.loss):
            return f"the validation loss became {result.loss} at step {step}"
        return ""

    def _measure(self) -> Evaluation:
        state = self.state
        return evaluate(
            state.model,
            self._forward,
            self.windows,
            self.token_bytes,
            self.world,
            documents=self.documents,
        )

    def _record(self, columns: dict[str, Any], timing: dict[str, float] | None = None) -> None:
        """Append a row to the metrics, of the step that was made last."""
        if not self.world.first:
            return
        step = self.state.step
        row = {
            "step": step,
            "tokens": step * self.config.tokens_per_step,
            **columns,
            "timing": {"seconds": round(self.state.seconds, 3), **(timing or {})},
        }
        try:
            self.run.append_metrics(row)
        except RunError as error:
            if self.world.size == 1:
                raise
            self.unwritten = error  # raised on all ranks at once, before anything else is written
            return
        self.mirror.row(row)

    def _check_written(self) -> None:
        """Raise on all ranks if the first one could not write a row: nothing may outlive it."""
        self.world.decide(self._raise_unwritten)

    def _raise_unwritten(self) -> None:
        if self.unwritten is not None:
            raise self.unwritten

    def _checkpoint(self) -> None:
        self._check_written()
        state, layout = self.state, self.config.layout
        self._count_time()
        with self.clock.section("checkpoint"):
            state.split = self.clock.split()
            values, tensors = state.snapshot()
            own = {"identity": self._identity(), "threads": torch.get_num_threads()}
            save_checkpoint(
                self.run.checkpoints,
                state.step,
                tensors,
                {**own, **values},
                keep=layout.keep,
                keep_every=layout.keep_every,
                world=self.world,
            )
        self.saved = time.monotonic()
        self._set_status("running")

    def _save_what_is_whole(self) -> None:
        """Write a checkpoint, as the last step left it, where an error ends the run between steps.

        That is text that cannot be read, or what `on_progress` raised. Not on several ranks: the
        others wait for this one's gradient.
        """
        saved = [checkpoint_step(path) for path in list_checkpoints(self.run.checkpoints)]
        if self.world.size == 1 and self.state.step not in [0, *saved]:
            with contextlib.suppress(RunError):  # what ends the run is the other error
                self._checkpoint()

    def _resume(self) -> None:
        """Continue from the newest whole checkpoint, and drop the metrics written after it."""
        found = self.world.decide(lambda: newest_whole(self.run.checkpoints, self._say))
        if found is not None:
            path, plain = found
            if plain["identity"] != self._identity():
                raise RunError(
                    f"the checkpoint {path} belongs to a run with other settings. Delete it, or "
                    "name another directory with --run."
                )
            tensors = self.state.room(plain)
            read_tensors(path, tensors, self.world)
            self.state.restore(plain, tensors)
            self.clock = Clock(self.world.device, self.state.split)
            self._say(f"going on from step {self.state.step}")
            self._say_if_other("threads", plain["threads"], torch.get_num_threads())
            self._say_if_other("ranks", plain["ranks"], self.world.size)
        # Without a checkpoint the run starts over, with its first evaluation: keep no row.
        last = self.state.step if found is not None else -1
        self.world.decide(lambda: go_back(self.run, self.config, last, self._say))
        if self.world.first:
            self.mirror.start(self.run.config(), last)

    def _announce(self) -> None:
        before, here = self.run.environment(), self._environment()
        if self.state.step > 0 and (changed := other_versions(before, here)):
            self._say(changed)
        session = session_record(here, self.config.layout, self.state.step)
        sessions = [*before.get("sessions", []), session]
        write_json(self.run.path / "environment.json", {**here, "sessions": sessions})
        save_tokenizer(self.run, self.shards.tokenizer)
        self.run.set_status("running", step=self.state.step)

    def _say_if_other(self, what: str, before: int, now: int) -> None:
        if before != now:
            self._say(
                f"it was begun with {before} {what} and goes on with {now}: the end is the same "
                "up to rounding only"
            )

    def _why_stopped(self) -> str:
        """Return the first reason that any rank has."""
        return next(reason for reason in self.world.gather(self.interrupted.reason) if reason)

    def _set_status(self, state: State, reason: str = "") -> None:
        step = self.state.step
        self.world.decide(lambda: self.run.set_status(state, step=step, reason=reason))

    def _stop(self, how: State, reason: str) -> Outcome:
        self._check_written()
        self._set_status(how, reason)
        return Outcome(how, self.state.step, reason)

    def _finish(self) -> Outcome:
        """Sum the run up and mark it finished."""
        self._check_written()
        self._count_time()
        memory = max(self.world.gather(peak_memory_bytes(self.world.device)))
        summary = self.world.decide(lambda: self._write_summary(memory))
        return Outcome("finished", self.state.step, summary=summary)

    def _write_summary(self, memory: int) -> dict[str, Any]:
        config, state = self.config, self.state
        tokens = config.steps * config.tokens_per_step
        summary = summarise(self.run, config, state.seconds)
        if self.peak is not None:
            rate = model_flops(config.model, summary["tokens_per_second"])
            summary["mfu"] = rate / (self.peak * self.world.size)
        summary |= {
            "eval_tokens": int(self.windows[:, 1:].size),
            "epochs": tokens / len(self.shards.train),
            "weight_decay": decay_timescales(config, len(self.shards.train)).as_dict(),
            "time_split": self.clock.split(),
            "optimizer_state_bytes": state_bytes(state.optimizer),
            "peak_memory_bytes": memory,
        }
        write_json(self.run.path / "summary.json", summary)
        self.run.set_status("finished", step=state.step)
        return summary

    def _measure_peak(self) -> float:
        """Return the FLOP/s of a matrix product on this device, in the precision of the run."""
        dtype = torch.bfloat16 if self.config.precision == "bfloat16" else torch.float32
        return measure_matmul_peak(self.world.device, dtype)

    def _environment(self) -> dict[str, Any]:
        """Describe what runs here, without the sessions."""
        return {
            **environment(self.world.device),
            "ranks": self.world.size,
            "optimizer": self.hyperparameters,
            "optimizer_package": package_bringing(self.config.optimizer.name),
            "matmul_peak": self.peak,
            "corpus": self.shards.manifest.get("corpus", {}),
        }

    def _identity(self) -> str:
        return identity(config_to_dict(self.config, self.shards.fingerprint))

    def _say(self, message: str) -> None:
        self._tell(message=message)

    def _tell(self, **signs: Any) -> None:
        self.listener.tell(Progress(self.state.step, self.config.steps, **signs))


def _check_fits(config: TrainConfig, shards: Shards, world: World) -> None:
    """Raise `ValueError` where model, data and device do not go together."""
    if config.layout.loss_chunk == "liger" and world.device.type != "cuda":
        raise ValueError(
            f"Liger's kernel needs a GPU, this run is on {world.device}. Give --loss-chunk a "
            "number, or nothing."
        )
    if config.model.vocab_size < shards.tokenizer.vocab_size:
        raise ValueError(
            f"the model has {config.model.vocab_size} tokens, the data's tokenizer "
            f"{shards.tokenizer.vocab_size}; the model needs at least as many"
        )


def _finite(x: float) -> bool:
    return x - x == 0.0
