"""The loop over the steps of one run.

It keeps all that a step depends on in `TrainState`, so that a checkpoint is that object and nothing
else: a run that was stopped at any moment ends with the same weights and the same metrics as one
that was not (on the CPU, with the same number of threads and ranks; else to rounding).
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from adana.data import BatchStream, Shards, validation_windows
from adana.nn import measure_matmul_peak, model_flops
from adana.runs import Run, RunError, State, identity, write_json
from adana.train.averages import WeightAverage, parse_average
from adana.train.checkpoint import newest_whole, read_tensors, save_checkpoint
from adana.train.clock import Clock
from adana.train.config import TrainConfig, config_to_dict
from adana.train.environment import environment, peak_memory_bytes
from adana.train.evaluate import Evaluation, evaluate
from adana.train.interrupt import InterruptFlag
from adana.train.optimizers import build_optimizer, schedule_values, set_gamma, state_bytes
from adana.train.parallelize import place_model
from adana.train.progress import OnProgress, Outcome, Progress
from adana.train.state import Averages, TrainState
from adana.train.summary import summarise
from adana.train.world import World


class Trainer:
    """The parts of one run on one rank, put together, and the loop over its steps."""

    def __init__(
        self, config: TrainConfig, shards: Shards, run: Run, on_progress: OnProgress, world: World
    ) -> None:
        self.config, self.shards, self.run, self.world = config, shards, run, world
        self.on_progress = on_progress
        if config.layout.threads:
            torch.set_num_threads(config.layout.threads)
        _check_fits(config, shards, world)
        length = config.model.sequence_length
        self.stream = BatchStream(shards.train, length, config.seed)
        self.windows = validation_windows(shards.validation, length, config.eval_tokens)
        self.token_bytes = shards.tokenizer.token_bytes()
        self.gamma = config.schedule.gamma(config.steps)
        self.model = place_model(config.model, config.seed, config.layout, world)
        model = self.model.module
        optimizer = build_optimizer(
            model, config.optimizer, config.optimizer.horizon or config.steps
        )
        averages = [
            WeightAverage(parse_average(name), model, config.steps) for name in config.averages
        ]
        self.state = TrainState(model, optimizer, averages)
        self.clock = Clock(world.device)
        self.peak = self._measure_peak() if config.layout.measure_peak else None

    def run_to_end(self) -> Outcome:
        """Train from the newest checkpoint to the end, an interruption or a non-finite loss."""
        self._resume()
        self.world.decide(self._announce)
        started = time.perf_counter() - self.state.seconds
        with InterruptFlag(self.config.layout.time_limit) as interrupted:
            problem = self._evaluate() if self.state.step == 0 else ""
            while not problem and self.state.step < self.config.steps:
                problem, stop = self._step(interrupted)
                if problem:
                    break
                self.state.seconds = time.perf_counter() - started
                self._log()
                if self._due(self.config.eval_every):
                    problem = self._evaluate()
                if not problem and (stop or self._due(self.config.layout.checkpoint_every)):
                    self._checkpoint()
                if not problem and stop and self.state.step < self.config.steps:
                    return self._stop("interrupted", self._why_stopped(interrupted))
            return self._stop("diverged", problem) if problem else self._finish()

    # --- one step -------------------------------------------------------------------------------

    def _step(self, interrupted: InterruptFlag) -> tuple[str, bool]:
        """Make one update.

        Returns what went wrong, or an empty string (nothing is updated then), and whether any rank
        was asked to stop.
        """
        config, state, clock = self.config, self.state, self.clock
        t = state.step + 1
        set_gamma(state.optimizer, config.optimizer.lr, self.gamma(t))
        sums = self._accumulate_gradients()
        with clock.section("model"):
            norm = nn.utils.clip_grad_norm_(state.model.parameters(), config.clip)
            whole = norm.full_tensor() if isinstance(norm, DTensor) else norm
            stop = torch.tensor(float(bool(interrupted)), device=sums.device)
            numbers = torch.stack([*sums, whole.to(sums), stop])
            loss, z, norm_value, stopping = self.world.mean(numbers)
        if not _finite(loss):
            return f"the training loss became {loss} at step {t}", False
        if not _finite(norm_value):
            problem = f"the norm of the gradient became {norm_value} at step {t}"
            return f"{problem} (loss {loss:.4g})", False
        with clock.section("optimizer"):
            state.optimizer.step()
        for average in state.weight_averages:
            average.update(t)
        state.step = t
        state.averages.add(loss, z, norm_value, config.clip)
        clock.step(config.tokens_per_step)
        return "", stopping > 0

    def _accumulate_gradients(self) -> Tensor:
        """Leave the gradient of the mean loss over the batch in the model.

        Returns this rank's mean cross-entropy and mean squared log-partition, float32 (2,).

        The batch is the same whatever the ranks and micro-batches: sequences step * B ...
        (step + 1) * B - 1 of the stream, of which each rank takes an equal run.
        """
        config, state, clock = self.config, self.state, self.clock
        state.optimizer.zero_grad(set_to_none=True)
        own = config.batch_size // self.world.size
        micro = min(config.layout.micro_batch or own, own)
        first = state.step * config.batch_size + self.world.rank * own
        sums = torch.zeros(2, device=self.world.device)
        for start in range(0, own, micro):
            count = min(micro, own - start)
            with clock.section("data"):
                tokens = torch.from_numpy(self.stream.batch(first + start, count))
                tokens = tokens.to(self.world.device, non_blocking=True)
            with clock.section("model"):
                self.model.last_micro_batch(start + count == own)
                terms = self._forward(tokens[:, :-1], tokens[:, 1:])
                (terms.loss * (count / own)).backward()
                sums += torch.stack([terms.cross_entropy.sum(), terms.z.sum()])
        return sums / own

    def _forward(self, tokens: Tensor, targets: Tensor) -> Any:
        """Return the `LossTerms` of a batch, in the precision of the run."""
        config = self.config
        chunk = config.layout.chunk(self.world.device.type)
        with self._autocast():
            return self.model.forward(tokens, targets, z_coeff=config.z_coeff, chunk=chunk)

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        if self.config.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.world.device.type, dtype=torch.bfloat16)

    # --- what is written --------------------------------------------------------------------------

    def _due(self, every: int | None) -> bool:
        step = self.state.step
        return step == self.config.steps or bool(every and step % every == 0)

    def _log(self) -> None:
        state, config = self.state, self.config
        if not self._due(config.log_every):
            return
        lap = self.clock.lap()
        row = state.averages.row()
        state.averages = Averages()
        t = state.step
        schedule = schedule_values(state.optimizer, self.gamma(t), t)
        self._record({**row, "schedule": schedule}, timing=lap)
        rate = lap["tokens_per_second"]
        self._report(Progress(t, config.steps, loss=row["train_loss"], tokens_per_second=rate))

    def _evaluate(self) -> str:
        """Evaluate and write the row. Return what is wrong with the loss, or an empty string."""
        with self.clock.section("evaluation"):
            result = self._measure()
            averaged = {}
            for average in self.state.weight_averages:
                if average.count:
                    with average.in_place():
                        averaged[average.rule.name] = self._measure().columns()
        self._record(result.columns() | ({"averages": averaged} if averaged else {}))
        step = self.state.step
        self._report(Progress(step, self.config.steps, val_loss=result.loss))
        if not _finite(result.loss):
            return f"the validation loss became {result.loss} at step {step}"
        return ""

    def _measure(self) -> Evaluation:
        state = self.state
        return evaluate(state.model, self._forward, self.windows, self.token_bytes, self.world)

    def _record(self, columns: dict[str, Any], timing: dict[str, float] | None = None) -> None:
        """Append a row to the metrics, of the step that was made last."""
        if not self.world.first:
            return
        step = self.state.step
        self.run.append_metrics(
            {
                "step": step,
                "tokens": step * self.config.tokens_per_step,
                **columns,
                "timing": {"seconds": round(self.state.seconds, 3), **(timing or {})},
            }
        )

    def _checkpoint(self) -> None:
        state, layout = self.state, self.config.layout
        with self.clock.section("checkpoint"):
            state.split = {name: round(value, 3) for name, value in self.clock.totals.items()}
            plain = {
                "identity": self._identity(),
                "threads": torch.get_num_threads(),
                **state.plain(),
            }
            save_checkpoint(
                self.run.checkpoints,
                state.step,
                state.tensors(),
                plain,
                keep=layout.keep,
                keep_every=layout.keep_every,
                world=self.world,
            )
        if self.world.first:
            self.run.set_status("running", step=state.step)

    def _resume(self) -> None:
        """Continue from the newest whole checkpoint, and drop the metrics written after it."""
        found = self.world.decide(lambda: newest_whole(self.run.checkpoints, self._say))
        if found is not None:
            path, plain = found
            if plain["identity"] != self._identity():
                raise RunError(
                    f"the checkpoint in {self.run.checkpoints} belongs to another configuration. "
                    "Delete it to start this run from the beginning."
                )
            tensors = self.state.tensors()
            read_tensors(path, tensors, self.world)
            self.state.restore(plain, tensors)
            self.clock = Clock(self.world.device, self.state.split)
            self._say(f"going on from step {self.state.step}")
            self._say_if_other("threads", plain["threads"], torch.get_num_threads())
            self._say_if_other("ranks", plain["ranks"], self.world.size)
        if self.world.first:
            # Without a checkpoint the run starts over, with its first evaluation: keep no row.
            self.run.truncate_metrics(self.state.step if found is not None else -1)

    def _say_if_other(self, what: str, before: int, now: int) -> None:
        if before != now:
            self._say(
                f"it was begun with {before} {what} and goes on with {now}: the end is the same "
                "up to rounding only"
            )

    def _announce(self) -> None:
        write_json(self.run.path / "environment.json", self._environment())
        self.run.set_status("running", step=self.state.step)

    def _why_stopped(self, interrupted: InterruptFlag) -> str:
        """Return the first reason that any rank has."""
        return next(reason for reason in self.world.gather(interrupted.reason) if reason)

    def _stop(self, how: State, reason: str) -> Outcome:
        if self.world.first:
            self.run.set_status(how, step=self.state.step, reason=reason)
        return Outcome(how, self.state.step, reason)

    def _finish(self) -> Outcome:
        """Sum the run up and mark it finished."""
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
            "time_split": {name: round(value, 3) for name, value in self.clock.totals.items()},
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
        manifest = self.shards.manifest
        return {
            **environment(self.world.device),
            "ranks": self.world.size,
            "matmul_peak": self.peak,
            "corpus": manifest.get("corpus", {}),
        }

    def _identity(self) -> str:
        return identity(config_to_dict(self.config, self.shards.fingerprint))

    def _say(self, message: str) -> None:
        self._report(Progress(self.state.step, self.config.steps, message=message))

    def _report(self, progress: Progress) -> None:
        if self.world.first:
            self.on_progress(progress)


def _check_fits(config: TrainConfig, shards: Shards, world: World) -> None:
    """Raise `ValueError` where model, data and ranks do not go together."""
    if config.model.vocab_size < shards.tokenizer.vocab_size:
        raise ValueError(
            f"the model has {config.model.vocab_size} tokens, the data's tokenizer "
            f"{shards.tokenizer.vocab_size}; the model needs at least as many"
        )
    if config.batch_size % world.size:
        raise ValueError(
            f"a batch of {config.batch_size} sequences cannot be shared equally by {world.size} "
            "ranks. Start a number of ranks that divides it, or change --batch-size."
        )


def _finite(x: float) -> bool:
    return x - x == 0.0
