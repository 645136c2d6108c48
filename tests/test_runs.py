import errno
import json
import math
import os
import resource

import pytest

from adana import runs
from adana.runs import (
    CONFIG_VERSION,
    NOT_IDENTITY,
    Run,
    RunError,
    find_runs,
    identity,
    read_json,
    write_bytes,
    write_json,
)
from tests.ranks import forkserver

CONFIG = {
    "version": CONFIG_VERSION,
    "seed": 0,
    "steps": 100,
    "optimizer": {"name": "adana", "lr": 1e-3, "betas": [0.9, 0.999]},
    "model": {"heads": 2, "layers": None},
    "data": {"corpus": "python", "fingerprint": "abc"},
    "layout": {"device": "cpu", "threads": 1},
    "provenance": {"lr": "a rule"},
}


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return Run(tmp_path / "run")


def with_leaf(config, path, value):
    """Return a copy of `config` with the value at a dotted path replaced."""
    key, _, rest = path.partition(".")
    return {**config, key: with_leaf(config[key], rest, value) if rest else value}


# --- identity -------------------------------------------------------------------------------------


def test_identity_is_twelve_hex_digits_whatever_the_order_of_the_keys():
    key = identity(CONFIG)
    assert len(key) == 12
    assert set(key) <= set("0123456789abcdef")
    assert identity(dict(reversed(CONFIG.items()))) == key
    assert identity(json.loads(json.dumps(CONFIG))) == key


def test_the_same_text_in_another_folder_is_the_same_data_and_other_text_is_not():
    moved = with_leaf(CONFIG, "data.corpus", "/elsewhere")
    assert identity(moved) == identity(CONFIG)
    assert identity(with_leaf(moved, "data.tokenizer", "/elsewhere.json")) == identity(CONFIG)
    assert identity(with_leaf(moved, "data.fingerprint", "abd")) != identity(CONFIG)
    unknown = {**CONFIG, "data": {"corpus": "python"}}
    assert identity(with_leaf(unknown, "data.corpus", "other")) != identity(unknown)


def test_identity_does_not_change_between_versions_of_adana():
    assert identity(CONFIG) == "c89aaa4aa562"


@pytest.mark.parametrize("path", ["layout.device", "layout.threads", "layout", "provenance.lr"])
def test_identity_ignores_where_a_run_executes_and_where_its_numbers_come_from(path):
    assert identity(with_leaf(CONFIG, path, "other")) == identity(CONFIG)
    without = {key: value for key, value in CONFIG.items() if key not in NOT_IDENTITY}
    assert identity(without) == identity(CONFIG)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("version", CONFIG_VERSION + 1),
        ("seed", 1),
        ("steps", 101),
        ("optimizer.name", "adamw"),
        ("optimizer.lr", 1.0000001e-3),
        ("optimizer.betas", [0.9, 0.99]),
        ("model.layers", 1),
        ("data.fingerprint", "abd"),
        ("model.layout", "a key that only shares a name with the top-level one"),
    ],
)
def test_identity_changes_with_everything_else(path, value):
    assert identity(with_leaf(CONFIG, path, value)) != identity(CONFIG)


def test_identity_refuses_numbers_that_json_does_not_have():
    with pytest.raises(ValueError, match="JSON"):
        identity({"lr": math.nan})


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("before", [None, "old"])
def test_a_write_that_fails_leaves_the_old_content_and_nothing_else(
    call, before, tmp_path, monkeypatch
):
    path = tmp_path / "status.json"
    if before is not None:
        write_json(path, before)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(RunError, match=r"cannot write .*status\.json: No space left.*Free some"):
        write_json(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ([] if before is None else ["status.json"])
    assert before is None or read_json(path) == before


def test_a_value_that_json_does_not_have_is_refused_before_anything_is_written(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, "old")
    with pytest.raises(TypeError):
        write_json(path, {"x": object()})
    assert read_json(path) == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_left_over_temporary_file_does_no_harm(tmp_path):
    (tmp_path / "status.json.part").write_text("half of it")
    write_json(tmp_path / "status.json", {"step": 1})
    assert read_json(tmp_path / "status.json") == {"step": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["status.json"]


def test_writing_where_there_is_no_folder_names_the_file(tmp_path):
    with pytest.raises(RunError, match=r"cannot write .*nowhere/a: No such file"):
        write_bytes(tmp_path / "nowhere" / "a", b"")


def test_numbers_that_json_does_not_have_become_words_at_any_depth(tmp_path):
    path = tmp_path / "x.json"
    write_json(path, {"a": math.nan, "b": [math.inf, {"c": (-math.inf, 1.5)}], "d": 0.1})
    assert read_json(path) == {"a": "nan", "b": ["inf", {"c": ["-inf", 1.5]}], "d": 0.1}
    assert "NaN" not in path.read_text()


def test_floats_come_back_to_the_bit(run):
    values = [0.1, 1 / 3, 5e-324, 1.7976931348623157e308, 2.0**60]
    run.append_metrics({"step": 1, "values": values})
    assert next(run.metrics())["values"] == values


@pytest.mark.parametrize("content", ["", "{", "\xff"])
def test_a_broken_file_is_named(content, tmp_path):
    path = tmp_path / "config.json"
    path.write_bytes(content.encode("latin1"))
    with pytest.raises(RunError, match=r"config\.json cannot be read as JSON"):
        read_json(path)


@pytest.mark.parametrize(
    ("name", "read", "advice"),
    [
        ("config.json", Run.config, "delete it and run the command that the run was begun with"),
        ("environment.json", Run.environment, "Delete it: the next session writes it again"),
        ("status.json", Run.status, "Delete it: the same command writes it again"),
        ("summary.json", Run.summary, "Delete it: the same command writes it again"),
    ],
)
@pytest.mark.parametrize("content", ["", '{"version": 2, "st', "[1]"])
def test_what_helps_against_a_damaged_file_is_said(name, read, advice, content, run):
    (run.path / name).write_text(content)
    with pytest.raises(RunError) as error:
        read(run)
    said = str(error.value)
    assert said.startswith(str(run.path / name))
    if (name, content) == ("config.json", "[1]"):
        return  # it says of which version it is not
    assert advice in said
    assert ("it is empty" in said) == (content == "")


def test_a_run_with_a_damaged_status_is_not_concluded(run):
    write_json(run.path / "summary.json", {"val_loss": 1.0})
    run.set_status("finished", step=3)
    assert run.concluded
    (run.path / "status.json").write_text("")
    assert not run.concluded
    run.set_status("diverged", step=3)
    assert run.concluded


# --- metrics --------------------------------------------------------------------------------------


def test_metrics_come_back_in_order_with_nan_as_a_word(run):
    assert list(run.metrics()) == []
    run.append_metrics({"step": 1, "loss": 2.5})
    run.append_metrics({"step": 2, "loss": math.nan})
    assert list(run.metrics()) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": "nan"}]


def test_a_row_that_does_not_fit_on_the_disk_leaves_nothing_of_itself(run):
    run.append_metrics({"step": 1})
    before = (run.path / "metrics.jsonl").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 7, limits[1]))
    try:
        with pytest.raises(RunError, match=r"cannot write .*metrics\.jsonl: File too large"):
            run.append_metrics({"step": 2, "loss": 2.5})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (run.path / "metrics.jsonl").read_bytes() == before
    run.append_metrics({"step": 3})
    assert [row["step"] for row in run.metrics()] == [1, 3]


@pytest.mark.parametrize("cut", range(1, 14))
def test_a_last_line_that_a_kill_cut_short_is_skipped(run, cut):
    run.append_metrics({"step": 1})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 123}'[:cut])
    rows = list(run.metrics())
    assert rows == [{"step": 1}] + [{"step": 123}] * (cut == 13)


def test_a_broken_line_in_the_middle_is_refused_by_name(run):
    (run.path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2, "lo\n{"step": 3}\n')
    told = r"metrics\.jsonl has a line that is not JSON: .*\"lo.*, line 2\. Restore .*delete that"
    with pytest.raises(RunError, match=told):
        list(run.metrics())


@pytest.mark.parametrize("line", ["3", "[]", "{}", '{"step": "one"}', "null"])
def test_a_line_that_is_no_row_is_refused_by_name(run, line):
    (run.path / "metrics.jsonl").write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(RunError, match=r"a line that is not JSON: .*, line 2"):
        list(run.metrics())


def test_truncating_drops_later_rows_and_a_half_written_one(run):
    for step in (0, 1, 2, 2, 3):
        run.append_metrics({"step": step, "x": step / 3})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "x')
    run.truncate_metrics(2)
    rows = [{"step": step, "x": step / 3} for step in (0, 1, 2, 2)]
    assert list(run.metrics()) == rows
    run.append_metrics({"step": 3})
    assert list(run.metrics()) == [*rows, {"step": 3}]
    run.truncate_metrics(-1)
    assert list(run.metrics()) == []


def test_metrics_set_aside_replace_none_that_were_before(run):
    for number in (1, 2):
        run.append_metrics({"step": number})
        aside = run.set_metrics_aside()
        assert aside.name == f"metrics.jsonl.{number}"
        assert json.loads(aside.read_text()) == {"step": number}
    assert list(run.metrics()) == []
    with pytest.raises(RunError, match=r"cannot write .*metrics\.jsonl\.3: No such file"):
        run.set_metrics_aside()


def test_truncating_keeps_the_remaining_bytes_as_they_were(run):
    path = run.path / "metrics.jsonl"
    for step in range(3):
        run.append_metrics({"step": step, "loss": math.inf, "name": "é", "y": 1e-7})
    before = path.read_bytes()
    run.truncate_metrics(5)
    assert path.read_bytes() == before


# --- config, status, summary ----------------------------------------------------------------------


def test_a_config_comes_back_and_one_of_another_version_is_refused(run):
    write_json(run.path / "config.json", CONFIG)
    assert run.config() == CONFIG
    for broken in ({**CONFIG, "version": 99}, {"steps": 1}, [], None):
        write_json(run.path / "config.json", broken)
        with pytest.raises(RunError, match=r"has format version (99|None).*environment\.json"):
            run.config()


def test_a_missing_config_is_named(run):
    with pytest.raises(RunError, match=r"config\.json does not exist"):
        run.config()


def test_a_run_is_finished_only_with_both_the_status_and_the_summary(run):
    assert run.status() == {"state": "new", "reason": "", "step": 0}
    assert run.summary() is None
    assert run.environment() == {}
    assert not run.finished
    run.set_status("finished", step=3)
    assert not run.finished
    write_json(run.path / "summary.json", {"val_loss": 1.0})
    assert run.finished
    run.set_status("failed", step=3, reason="the disk")
    assert run.status() == {"state": "failed", "reason": "the disk", "step": 3}
    assert not run.finished


# --- lock -----------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(runs, "LOCK_PATIENCE", 0.2)


def hold(pipe, path):
    """Hold the lock of a run in a process of its own, until that is killed."""
    with Run(path).lock():
        pipe.send("held")
        pipe.recv()


def test_a_second_process_is_refused_until_the_first_ends_even_by_kill(run):
    ours, theirs = forkserver().Pipe()
    holder = forkserver().Process(target=hold, args=(theirs, run.path))
    holder.start()
    assert ours.recv() == "held"
    with pytest.raises(RunError, match="in use by another process"), run.lock():
        pass
    holder.kill()
    holder.join()
    with run.lock():
        pass


def test_the_lock_is_released_when_the_training_fails(run):
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock(), pytest.raises(RunError, match="in use"), Run(run.path).lock():
        pass


# --- finding --------------------------------------------------------------------------------------


def test_runs_are_found_at_any_depth_sorted_and_only_those_wanted(tmp_path):
    for name in ("b", "a", "deep/er/c"):
        (tmp_path / name).mkdir(parents=True)
        write_json(tmp_path / name / "config.json", CONFIG)
    (tmp_path / "no-run").mkdir()
    assert [run.name for run in find_runs(tmp_path)] == ["a", "b", "c"]
    Run(tmp_path / "b").set_status("diverged", step=1)
    assert find_runs(tmp_path, lambda run: run.status()["state"] == "diverged") == [
        Run(tmp_path / "b")
    ]
    assert find_runs(tmp_path / "nowhere") == []


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    run = Run(tmp_path)
    (tmp_path / "lock").mkdir()
    with (
        pytest.raises(RunError, match=r"cannot write .*lock: Is a directory\. Free some"),
        run.lock(),
    ):
        pass
