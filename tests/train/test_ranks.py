"""The same run on 1, 2 and 4 real processes, and what becomes of it when one of them fails.

Functions named `on_rank_...` are run by every rank of a world (tests/ranks.py).
"""

import dataclasses
import datetime
import errno
import os
import signal
import time

import pytest
import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp

from adana.data import open_shards
from adana.nn import EnokiConfig, LSTMConfig, Qwen3Config
from adana.runs import Run, RunError
from adana.train import LayoutConfig, OptimizerConfig, ScheduleConfig, join_world, train
from adana.train import loop as loop_module
from adana.train import world as world_module
from adana.train.checkpoint import checkpoint_step, list_checkpoints, read_tensors
from adana.train.session import _explain
from tests.ranks import RankError

from .conftest import VOCAB, tiny_config
from .results import final_state

STEPS = 50
ROUNDING = 2e-5
"""How far losses may be apart after `STEPS` steps; measured 3e-6."""


@pytest.fixture(scope="module")
def config(corpus):
    """Smooth enough for rounding to stay rounding: a small rate, and a warm-up."""
    return tiny_config(
        corpus,
        steps=STEPS,
        optimizer=OptimizerConfig("adana", lr=2e-3),
        schedule=ScheduleConfig(warmup_steps=10),
        model=EnokiConfig(heads=2, layers=2, head_dim=8, vocab_size=VOCAB, sequence_length=32),
        log_every=1,
        eval_every=25,
        averages=("ema:0.9", "tail:0.5"),
        layout=LayoutConfig(device="cpu", threads=1, checkpoint_every=10, keep=9),
    )


def laid_out(config, parallel, **changes):
    layout = dataclasses.replace(config.layout, parallel=parallel, **changes)
    return dataclasses.replace(config, layout=layout)


def on_rank_train(config, folder, path):
    return train(config, open_shards(folder), Run(path)).state


def on_rank_train_until(config, folder, path, step, rank):
    """Like `on_rank_train`, but one rank gets a SIGTERM at a step."""

    def act(trainer):
        if dist.get_rank() == rank:
            os.kill(os.getpid(), signal.SIGTERM)

    return _with_action(step, act, config, folder, path)


def on_rank_with_packages(folder, function, *arguments):
    """Like another of these functions, but with packages installed below `folder`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return globals()[function](*arguments)


def on_rank_die(config, folder, path, step, rank):
    """One rank is gone after a step, as if killed."""

    def act(trainer):
        if dist.get_rank() == rank:
            os._exit(9)

    return _with_action(step, act, config, folder, path)


def on_rank_full_disk(config, folder, path, rank):
    """The second checkpoint does not fit on the disk of one rank. Returns what each was told."""
    saves = []
    write = dcp.HuggingFaceStorageWriter.write_data

    def failing(self, plan, planner):
        saves.append(1)
        if len(saves) == 2 and dist.get_rank() == rank:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, plan, planner)

    dcp.HuggingFaceStorageWriter.write_data = failing
    try:
        train(config, open_shards(folder), Run(path))
    except RunError as error:
        return str(error)
    finally:
        dcp.HuggingFaceStorageWriter.write_data = write
    return "nothing"


def on_rank_listen(config, folder, path, step):
    """Whoever listens to the first rank raises at a step. Returns what each rank was told."""

    def listen(progress):
        if progress.step >= step:
            raise ConnectionError("the connection to my server was lost")

    try:
        return train(config, open_shards(folder), Run(path), listen).state
    except RunError as error:
        return str(error)


def on_rank_full_metrics(config, folder, path, step, column):
    """A row cannot be written, which the first rank alone finds out. Returns what each was told."""
    append = Run.append_metrics

    def failing(self, row):
        if row["step"] == step and column in row:
            raise RunError("cannot write metrics.jsonl: No space left on device")
        append(self, row)

    Run.append_metrics = failing
    try:
        train(config, open_shards(folder), Run(path))
    except RunError as error:
        return str(error)
    finally:
        Run.append_metrics = append
    return "nothing"


def on_rank_wait_for_one_that_hangs(patience):
    """The last rank does not answer in time. Returns what the others were told."""
    world_module.TRAINING_PATIENCE = datetime.timedelta(seconds=patience)
    with join_world("cpu") as joined:
        world = joined.in_training()
        if world.rank == world.size - 1:
            time.sleep(3 * patience)
            return "nothing"
        try:
            world.gather(world.rank)
        except RuntimeError as error:
            return str(_explain(error, 3))
    return "nothing"


def on_rank_die_while_saving(config, folder, path, rank):
    """One rank is gone in the middle of writing a checkpoint."""
    write = dcp.HuggingFaceStorageWriter.write_data

    def dying(self, plan, planner):
        if dist.get_rank() == rank:
            os._exit(9)
        return write(self, plan, planner)

    dcp.HuggingFaceStorageWriter.write_data = dying
    try:
        return train(config, open_shards(folder), Run(path)).state
    finally:
        dcp.HuggingFaceStorageWriter.write_data = write


def on_rank_refuse(config, folder, path):
    try:
        train(config, open_shards(folder), Run(path))
    except (ValueError, RunError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def _with_action(step, act, config, folder, path):
    log = loop_module.Trainer._log

    def acting(self):
        log(self)
        if self.state.step == step:
            act(self)

    loop_module.Trainer._log = acting
    try:
        return train(config, open_shards(folder), Run(path)).state
    finally:
        loop_module.Trainer._log = log


def losses(run):
    found = {}
    for row in run.metrics():
        for key in ("train_loss", "val_loss", "grad_norm", "train_z"):
            if key in row:
                found[row["step"], key] = row[key]
        for name, columns in row.get("averages", {}).items():
            found[row["step"], name] = columns["val_loss"]
    return found


def assert_close(run, reference):
    ours, theirs = losses(run), losses(reference)
    assert ours.keys() == theirs.keys()
    for at, loss in ours.items():
        assert loss == pytest.approx(theirs[at], abs=ROUNDING, rel=ROUNDING), at


@pytest.fixture(scope="module")
def alone(config, shards, tmp_path_factory):
    """A run on one rank that nothing has stopped; tests must not change it."""
    run = Run(tmp_path_factory.mktemp("alone") / "run")
    assert train(config, shards, run).state == "finished"
    return run


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("ranks", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_losses_and_weights_do_not_depend_on_the_ranks(
    ranks, parallel, config, shards, alone, tmp_path, worlds
):
    run = Run(tmp_path / "run")
    arguments = (laid_out(config, parallel, micro_batch=1), shards.folder, run.path)
    assert worlds(ranks).run(on_rank_train, *arguments) == ["finished"] * ranks
    assert_close(run, alone)
    first = (0, "val_loss")  # the initial weights are the same to the bit
    assert losses(run)[first] == losses(alone)[first]
    told, expected = run.summary(), alone.summary()
    for key in ("tokens", "eval_tokens", "optimizer_state_bytes", "exact_parameters"):
        assert told[key] == expected[key], key
    ours, theirs = final_weights(run, alone), final_weights(alone, alone)
    for name, value in ours.items():
        assert value.allclose(theirs[name], atol=1e-4), name


def final_weights(run, like):
    """Return the whole weights of a run on any number of ranks, named as in one on one rank."""
    tensors = {
        name: torch.zeros_like(value)
        for name, value in final_state(like)["tensors"].items()
        if name.startswith("model.")
    }
    read_tensors(list_checkpoints(run.checkpoints)[-1], tensors)
    return tensors


@pytest.mark.parametrize("parallel", ["fsdp", pytest.param("ddp", marks=pytest.mark.slow)])
def test_a_run_goes_on_from_four_ranks_to_one_to_two(
    parallel, config, shards, alone, tmp_path, worlds
):
    config = laid_out(config, parallel)
    run = Run(tmp_path / "run")
    at = (shards.folder, run.path)
    stopped = worlds(4).run(on_rank_train_until, config, *at, 13, 2)
    assert stopped == ["interrupted"] * 4
    # All ranks stop together, at the step after the one that heard the signal.
    assert run.status()["step"] == checkpoint_step(list_checkpoints(run.checkpoints)[-1]) == 14
    assert "SIGTERM" in run.status()["reason"]
    assert [path.name[:11] for path in sorted(list_checkpoints(run.checkpoints)[-1].iterdir())] == [
        "manifest.js", "shard-00001", "shard-00002", "shard-00003", "shard-00004", "state.json",
    ]  # fmt: skip

    with pytest.MonkeyPatch.context() as patch:
        messages = []
        log = loop_module.Trainer._log

        def signalled(self):
            log(self)
            if self.state.step == 29:
                os.kill(os.getpid(), signal.SIGTERM)

        patch.setattr(loop_module.Trainer, "_log", signalled)
        outcome = train(config, shards, run, lambda sign: messages.append(sign.message))
    assert (outcome.state, outcome.step) == ("interrupted", 30)
    assert any("begun with 4 ranks and goes on with 1" in m for m in messages)
    assert worlds(2).run(on_rank_train, config, *at) == ["finished"] * 2
    assert_close(run, alone)


@pytest.mark.slow
@pytest.mark.parametrize(
    "optimizer",
    [
        OptimizerConfig("adamw", lr=2e-3),
        OptimizerConfig("muon", lr=2e-3),
        OptimizerConfig("log-muon", lr=2e-3),
        OptimizerConfig("dana-star-mk4", lr=2e-3),
        OptimizerConfig("dana-star-mk4", lr=2e-3, state_dtype="log16"),
        OptimizerConfig("adana", lr=2e-3, state_dtype="fp24"),
    ],
    ids=lambda optimizer: f"{optimizer.name}-{optimizer.state_dtype or 'fp32'}",
)
def test_every_kind_of_state_goes_on_from_two_ranks_to_one(
    optimizer, config, shards, tmp_path, worlds
):
    config = dataclasses.replace(config, optimizer=optimizer, steps=20, eval_every=10)
    alone, run = Run(tmp_path / "alone"), Run(tmp_path / "run")
    train(config, shards, alone)
    config = laid_out(config, "fsdp", checkpoint_every=8)
    arguments = (config, shards.folder, run.path, 12, 1)
    assert worlds(2).run(on_rank_train_until, *arguments) == ["interrupted"] * 2
    assert train(config, shards, run).state == "finished"
    assert_close(run, alone)


STEADY = """
import torch
from adana.train import OptimizerEntry

class Steady(torch.optim.Optimizer):
    def __init__(self, params, lr):
        super().__init__(params, {"lr": lr, "k": 0})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            group["k"] += 1
            for p in group["params"]:
                averages = self.state[p].setdefault("averages", [torch.zeros_like(p)])
                averages[0].lerp_(p.grad, 4 / (4 + group["k"]))
                p.add_(averages[0] + p.grad, alpha=-group["lr"])

steady = OptimizerEntry(lambda model, config, steps: Steady(model.parameters(), config.lr))
"""


@pytest.mark.parametrize("step", [3, 12])
def test_an_error_of_whoever_listens_stops_all_ranks_with_a_checkpoint(
    step, config, shards, tmp_path, worlds
):
    run = Run(tmp_path / "run")
    config = laid_out(dataclasses.replace(config, steps=12, eval_every=6), "ddp")
    told = "on_progress raised ConnectionError: the connection to my server was lost"
    assert worlds(2).run(on_rank_listen, config, shards.folder, run.path, step) == [told] * 2
    end = min(step + 1, 12)
    assert run.status() == {"state": "failed", "reason": f"rank 0: {told}", "step": end}
    assert checkpoint_step(list_checkpoints(run.checkpoints)[-1]) == end
    assert train(config, shards, run).state == "finished"


@pytest.mark.slow
def test_another_package_s_optimizer_goes_on_from_one_rank_to_two_to_one(
    config, shards, tmp_path, worlds, packages
):
    packages.install("steady", {"steady.py": STEADY}, {"steady": "steady:steady"})
    optimizer = OptimizerConfig("steady", lr=0.1)
    config = dataclasses.replace(config, optimizer=optimizer, steps=20, eval_every=10)
    alone, run = Run(tmp_path / "alone"), Run(tmp_path / "run")
    train(config, shards, alone)
    config = laid_out(config, "fsdp", checkpoint_every=4)

    def stop(_):
        os.kill(os.getpid(), signal.SIGTERM)

    assert _with_action(5, stop, config, shards.folder, run.path) == "interrupted"
    arguments = ("on_rank_train_until", config, shards.folder, run.path, 12, 1)
    stopped = worlds(2).run(on_rank_with_packages, packages.folder, *arguments)
    assert stopped == ["interrupted"] * 2
    assert train(config, shards, run).state == "finished"
    assert_close(run, alone)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["fsdp", pytest.param("ddp", marks=pytest.mark.exhaustive)])
def test_compiled_and_recomputed_blocks_are_the_same_on_two_ranks(
    parallel, config, shards, tmp_path, worlds
):
    config = dataclasses.replace(config, steps=12, eval_every=6)
    alone, run = Run(tmp_path / "alone"), Run(tmp_path / "run")
    train(config, shards, alone)
    config = laid_out(config, parallel, compile=True, activation_checkpointing=True)
    assert worlds(2).run(on_rank_train, config, shards.folder, run.path) == ["finished"] * 2
    assert_close(run, alone)


def test_a_time_limit_stops_all_ranks_with_a_checkpoint(config, shards, tmp_path, worlds):
    run = Run(tmp_path / "run")
    arguments = (shards.folder, run.path)
    limited = laid_out(config, "fsdp", time_limit=1e-3)
    assert worlds(2).run(on_rank_train, limited, *arguments) == ["interrupted"] * 2
    assert "time limit" in run.status()["reason"]
    assert checkpoint_step(list_checkpoints(run.checkpoints)[-1]) == run.status()["step"] < STEPS


def test_a_rank_that_dies_loses_nothing_but_steps_since_the_checkpoint(
    config, shards, alone, tmp_path, worlds
):
    run = Run(tmp_path / "run")
    at = (shards.folder, run.path)
    with pytest.raises(RankError, match=r"lost contact with another rank after step 2\d.*goes on"):
        worlds(2).run(on_rank_die, config, *at, 25, 1)
    assert run.status()["state"] == "failed"
    assert "rank 0: lost contact" in run.status()["reason"]
    assert worlds(2).run(on_rank_train, config, *at) == ["finished"] * 2
    assert_close(run, alone)


def test_a_full_disk_on_one_rank_stops_all_with_the_reason(config, shards, alone, tmp_path, worlds):
    run = Run(tmp_path / "run")
    at = (shards.folder, run.path)
    told = worlds(2).run(on_rank_full_disk, config, *at, 1)
    assert all("No space left on device" in text and "Free some space" in text for text in told)
    assert [checkpoint_step(path) for path in list_checkpoints(run.checkpoints)] == [10]
    assert not list(run.checkpoints.glob(".unfinished*"))
    assert worlds(2).run(on_rank_train, config, *at) == ["finished"] * 2
    assert_close(run, alone)


@pytest.mark.parametrize(
    ("step", "column", "saved"),
    [(7, "train_loss", 0), (10, "train_loss", 0), (25, "val_loss", 20), (50, "val_loss", 40)],
)
def test_rows_that_cannot_be_written_stop_all_ranks_before_a_checkpoint(
    step, column, saved, config, shards, alone, tmp_path, worlds
):
    run = Run(tmp_path / "run")
    told = worlds(2).run(on_rank_full_metrics, config, shards.folder, run.path, step, column)
    assert told == ["cannot write metrics.jsonl: No space left on device"] * 2
    assert run.status()["state"] == "failed"
    assert max([0, *map(checkpoint_step, list_checkpoints(run.checkpoints))]) == saved
    assert worlds(2).run(on_rank_train, config, shards.folder, run.path) == ["finished"] * 2
    assert_close(run, alone)


def test_a_rank_that_dies_while_saving_is_not_called_a_full_disk(config, shards, tmp_path, worlds):
    run = Run(tmp_path / "run")
    with pytest.raises(RankError, match="lost contact with another rank") as failure:
        worlds(2).run(on_rank_die_while_saving, config, shards.folder, run.path, 1)
    assert "Free some space" not in str(failure.value)
    assert not list_checkpoints(run.checkpoints)


@pytest.mark.parametrize(
    ("family", "parallel"),
    [
        ("enoki", "fsdp"),
        ("lstm", "ddp"),
        *(
            pytest.param(*which, marks=pytest.mark.slow)
            for which in [("enoki", "ddp"), ("qwen3", "ddp"), ("qwen3", "fsdp"), ("lstm", "fsdp")]
        ),
    ],
)
def test_everything_at_once_is_the_same_on_two_ranks(
    family, parallel, config, shards, tmp_path, worlds
):
    """bfloat16, z-loss, recomputation, chunks of the loss and micro-batches, for every model."""
    model = {
        "enoki": config.model,
        "qwen3": Qwen3Config(heads=2, head_dim=8, layers=2, vocab_size=VOCAB, sequence_length=32),
        "lstm": LSTMConfig(width=16, layers=2, vocab_size=VOCAB, sequence_length=32),
    }[family]
    config = dataclasses.replace(
        config, model=model, steps=12, eval_every=6, precision="bfloat16", z_coeff=1e-3
    )
    config = laid_out(config, parallel, micro_batch=1, activation_checkpointing=True, loss_chunk=7)
    one, two = Run(tmp_path / "one"), Run(tmp_path / "two")
    train(config, shards, one)
    assert worlds(2).run(on_rank_train, config, shards.folder, two.path) == ["finished"] * 2
    for at, loss in losses(two).items():
        assert loss == pytest.approx(losses(one)[at], abs=1e-3, rel=1e-3), at


def test_every_rank_hears_why_a_run_is_refused(config, shards, alone, worlds):
    other = dataclasses.replace(config, optimizer=OptimizerConfig("adana", lr=0.5))
    told = worlds(2).run(on_rank_refuse, other, shards.folder, alone.path)
    assert all("optimizer.lr: 0.002 there, 0.5 asked for" in text for text in told)


def test_a_batch_that_ranks_cannot_share_is_refused(config, shards, tmp_path, worlds):
    config = dataclasses.replace(config, batch_size=3)
    told = worlds(2).run(on_rank_refuse, config, shards.folder, tmp_path / "run")
    assert all("batch of 3 sequences cannot be shared equally by 2 ranks" in t for t in told)


def test_a_rank_that_hangs_is_not_waited_for_for_days(worlds):
    told = worlds(2).run(on_rank_wait_for_one_that_hangs, 2)
    assert "lost contact with another rank after step 3" in told[0]


def test_only_failed_exchanges_are_called_a_lost_rank():
    ordinary = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    assert _explain(ordinary, 3) is ordinary
    assert "lost contact" in str(_explain(RuntimeError("Connection closed by peer"), 3))
