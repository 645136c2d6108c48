"""Trackers get each row once, in their own form, and cannot hurt a training."""

import json

import pytest

from adana.runs import Run, RunError, write_json
from adana.trackers import TRACKERS, Mirror, flatten_row, open_trackers, replay

CONFIG = {"version": 2, "seed": 0, "optimizer": {"name": "adana", "lr": 0.01}}


def training(step):
    return {
        "step": step,
        "tokens": 64 * step,
        "train_loss": 5.0 / (1 + step),
        "grad_norm": 0.5,
        "schedule": {"gamma": 0.1 * step},
        "timing": {"seconds": 2.0 * step, "tokens_per_second": 100.0},
    }


def evaluation(step):
    return {"step": step, "tokens": 64 * step, "val_loss": 5.5 / (1 + step), "perplexity": 9.0}


ROWS = [evaluation(0), training(2), training(4), evaluation(4), training(6), evaluation(6)]


def make_run(folder, rows=ROWS, name="adana-T6-s0"):
    run = Run(folder / name)
    run.create()
    write_json(run.path / "config.json", CONFIG)
    for row in rows:
        run.append_metrics(row)
    run.set_status("finished", step=6)
    write_json(run.path / "summary.json", {"val_loss": 0.7857, "steps": 6})
    return run


class Remembering:
    name = "remembering"
    queues = False

    def __init__(self, forgets=False, rows=None):
        self.forgets, self.rows, self.calls = forgets, [] if rows is None else rows, []

    def start(self, run_path, config, resume_step):
        self.calls.append(("start", run_path.name, resume_step))
        if self.forgets:
            self.rows[:] = [row for row in self.rows if row["step"] <= resume_step]

    def log(self, row):
        self.rows.append(dict(row))

    def finish(self, state, summary):
        self.calls.append(("finish", state))


class Queueing(Remembering):
    """Keeps what it was given when it is finished: a kill loses it."""

    queues = True

    def __init__(self, rows):
        super().__init__()
        self.kept = rows

    def finish(self, state, summary):
        self.kept += self.rows


class Failing(Remembering):
    name = "failing"

    def log(self, row):
        super().log(row)
        raise ConnectionError("no network")


def session(run, tracker, resume_step, rows, killed=False):
    """Resume `run` after `resume_step` and train `rows`, as the engine does."""
    run.truncate_metrics(resume_step)
    mirror = Mirror(run, [tracker])
    mirror.start(CONFIG, resume_step)
    for row in rows:
        run.append_metrics(row)
        mirror.row(row)
    if not killed:
        mirror.finish("interrupted")


def test_names_are_grouped_and_nested_values_keep_their_path():
    row = training(2) | {"schedule": {"gamma": "nan"}, "note": "words", "z": None}
    flat = flatten_row(row)
    assert flat.pop("schedule/gamma") != 0.2
    assert flat == {
        "tokens": 128.0,
        "train/loss": 5.0 / 3,
        "train/grad_norm": 0.5,
        "timing/seconds": 4.0,
        "timing/tokens_per_second": 100.0,
    }
    averaged = evaluation(4) | {"averages": {"ema:0.9": {"val_loss": 1.0}}}
    assert flatten_row(averaged)["averages/ema:0.9/val_loss"] == 1.0
    assert flatten_row(averaged)["val/perplexity"] == 9.0


@pytest.mark.parametrize("forgets", [False, True])
def test_rows_trained_again_after_a_kill_are_not_sent_twice(tmp_path, forgets):
    run, seen = make_run(tmp_path, rows=[]), []
    session(run, Remembering(forgets, seen), -1, ROWS[:5])
    session(run, Remembering(forgets, seen), 2, ROWS[2:])
    assert seen == ROWS


def test_rows_that_a_kill_took_from_a_queue_are_sent_again(tmp_path):
    run, kept = make_run(tmp_path, rows=[]), []
    session(run, Queueing(kept), -1, ROWS[:2])
    session(run, Queueing(kept), 2, ROWS[2:4], killed=True)
    assert kept == ROWS[:2]
    session(run, Queueing(kept), 4, ROWS[4:])
    assert kept == ROWS


def test_rows_that_a_kill_took_from_a_queue_are_mirrored_later(tmp_path):
    run, kept = make_run(tmp_path, rows=[]), []
    session(run, Queueing(kept), -1, ROWS, killed=True)
    assert replay(run, [Queueing(kept)]) == ["remembering"]
    assert kept == ROWS


def test_a_run_that_starts_over_is_sent_once(tmp_path):
    run, seen = make_run(tmp_path, rows=[]), []
    session(run, Remembering(rows=seen), -1, ROWS[:3])
    session(run, Remembering(rows=seen), -1, ROWS)
    assert seen == ROWS


def test_a_tracker_added_halfway_catches_up_from_the_record(tmp_path):
    run = make_run(tmp_path, rows=ROWS[:4])
    tracker = Remembering()
    session(run, tracker, 4, ROWS[4:])
    assert tracker.rows == ROWS
    assert tracker.calls == [("start", run.name, 4), ("finish", "interrupted")]


def test_a_failing_tracker_says_so_once_and_the_others_go_on(tmp_path):
    run, said = make_run(tmp_path, rows=[]), []
    failing, good = Failing(), Remembering()
    mirror = Mirror(run, [failing, good], said.append)
    mirror.start(CONFIG)
    for row in ROWS:
        mirror.row(row)
    mirror.finish("finished")
    assert good.rows == ROWS
    assert len(failing.rows) == 1
    (message,) = said
    assert "ConnectionError: no network" in message
    assert f"adana runs mirror {run.name} --to failing" in message
    write_json(run.path / "metrics.json", {})
    session(make_run(tmp_path, name="x", rows=[]), Remembering(), -1, ROWS)


def test_what_failed_is_sent_when_it_is_mirrored_later(tmp_path):
    run = make_run(tmp_path)
    with pytest.warns(UserWarning, match="failing failed"):
        assert replay(run, [Failing()]) == []
    late = Remembering()
    late.name = "failing"
    assert replay(run, [late]) == ["failing"]
    assert late.rows == ROWS
    again = Remembering()
    again.name = "failing"
    replay(run, [again])
    assert again.rows == []


def test_a_run_in_training_is_not_mirrored_behind_its_back(tmp_path):
    run = make_run(tmp_path)
    with run.lock(), pytest.raises(RunError, match="is being trained now"):
        replay(run, [Remembering()])


def test_a_broken_progress_file_means_nothing_was_sent(tmp_path):
    run, tracker = make_run(tmp_path), Remembering()
    (run.path / "trackers.json").write_text('["half')
    replay(run, [tracker])
    assert tracker.rows == ROWS


def test_unknown_and_missing_trackers_are_named_with_what_to_do(monkeypatch):
    with pytest.raises(ValueError, match="unknown tracker 'excel', expected one of tensorboard, w"):
        open_trackers(["excel"])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'pip install "adana\[wandb\]"'):
        open_trackers(["wandb"])


def test_a_tracker_is_opened_once(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: True)
    with pytest.raises(ValueError, match="named twice"):
        open_trackers(["wandb", "wandb"])
    assert [each.name for each in open_trackers(list(TRACKERS))] == list(TRACKERS)


# --- the libraries themselves ---------------------------------------------------------------------


def read_events(run):
    from tensorboard.backend.event_processing.event_accumulator import (  # noqa: PLC0415
        EventAccumulator,
    )

    events = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"scalars": 0})
    events.Reload()
    return {
        name: [(event.step, round(event.value, 5)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


@pytest.mark.libraries
def test_tensorboard_files_hold_every_row_of_a_resumed_run_once(tmp_path):
    pytest.importorskip("tensorboard", reason='needs: pip install "adana[tensorboard]"')
    run = make_run(tmp_path, rows=[])
    session(run, open_trackers(["tensorboard"])[0], -1, ROWS[:5])
    session(run, open_trackers(["tensorboard"])[0], 2, ROWS[2:])
    events = read_events(run)
    expected = [(step, round(5.0 / (1 + step), 5)) for step in (2, 4, 6)]
    assert events["train/loss"] == expected
    assert [step for step, _ in events["val/loss"]] == [0, 4, 6]
    replay(run, open_trackers(["tensorboard"]))
    assert read_events(run) == events


def wandb_records(path):
    """Yield the messages of a .wandb file: a log of 32 KiB blocks, as LevelDB has."""
    data, at, message = path.read_bytes(), 7, b""  # after the file's own header
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:
            at += 2**15 - at % 2**15
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        message += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in {1, 4}:  # whole, or the last part
            yield message
            message = b""


def offline_records(run):
    """Yield the messages in the files that W&B would send."""
    from wandb.proto.wandb_internal_pb2 import Record  # noqa: PLC0415

    for file in sorted((run.path / "wandb").glob("offline-run-*/run-*.wandb")):
        for message in wandb_records(file):
            record = Record()
            record.ParseFromString(message)
            yield record


def offline_history(run):
    """Return the ids, the rows and the summary in the files that W&B would send."""
    ids, rows, summary = set(), [], {}
    for record in offline_records(run):
        if record.run.run_id:
            ids.add(record.run.run_id)
        items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
        if items:
            rows.append({key: json.loads(value) for key, value in items.items()})
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return ids, rows, summary


@pytest.mark.libraries
def test_wandb_offline_keeps_one_run_and_each_row_once(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason='needs: pip install "adana[wandb]"')
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run = make_run(tmp_path, rows=[])
    session(run, open_trackers(["wandb"])[0], -1, ROWS[:5])
    session(run, open_trackers(["wandb"])[0], 2, ROWS[2:])
    write_json(run.path / "summary.json", {"val_loss": 0.78, "train_loss": 0.71})
    run.set_status("finished", step=6)
    assert replay(run, open_trackers(["wandb"])) == ["wandb"]
    wandb.teardown()  # its own process has written everything when it has ended
    ids, rows, summary = offline_history(run)
    assert len(ids) == 1
    assert [(row["step"], "val/loss" in row) for row in rows] == [
        (row["step"], "val_loss" in row) for row in ROWS
    ]
    assert (summary["final/val/loss"], summary["final/train/loss"]) == (0.78, 0.71)
    assert rows[1]["train/loss"] == ROWS[1]["train_loss"]
    assert rows[1]["schedule/gamma"] == 0.2
    records = list(offline_records(run))
    ends = [record.exit.exit_code for record in records if record.HasField("exit")]
    assert sorted(ends) == [0, 1, 1]  # that of the replay, those of two interrupted sessions
    assert sum(record.HasField("preempting") for record in records) == 2


@pytest.mark.libraries
def test_trackio_keeps_one_run_and_each_row_once(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    pytest.importorskip("trackio", reason='needs: pip install "adana[trackio]"')
    run = make_run(tmp_path, rows=[])
    session(run, open_trackers(["trackio"])[0], -1, ROWS[:5])
    session(run, open_trackers(["trackio"])[0], 2, ROWS[2:])
    from trackio.sqlite_storage import SQLiteStorage  # noqa: PLC0415

    (name,) = SQLiteStorage.get_runs("adana")
    logs = SQLiteStorage.get_logs("adana", name)
    steps = sorted((row["step"], "val/loss" in row) for row in logs)
    assert steps == sorted((row["step"], "val_loss" in row) for row in ROWS)
