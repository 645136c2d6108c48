"""The list of run directories: what it knows of each, whatever state its files are in."""

import os

import pytest

from adana.report import Follower, differences, find_run, line_chart, list_runs, select, sparkline
from adana.report.listing import TAIL_BYTES, disk_bytes, last_rows
from adana.runs import Run, RunError, read_json, write_json


def listed(root):
    return {listing.name: listing for listing in list_runs(root)}


def test_a_finished_run_is_listed_with_its_numbers(tmp_path, write_run):
    run = write_run(tmp_path, "adana", 1)
    (run.checkpoints / "step-00002000").mkdir(parents=True)
    (run.checkpoints / "step-00002000" / "weights").write_bytes(b"x" * 5000)
    (listing,) = list_runs(tmp_path)
    assert (listing.name, listing.state, listing.label) == (run.name, "finished", "adana")
    assert (listing.step, listing.steps, listing.seed) == (2000, 2000, 1)
    assert listing.loss == list(run.metrics())[-1]["val_loss"]
    assert listing.tokens == 2000 * 2048
    assert (listing.model, listing.checkpoints, listing.problem) == ("enoki 4x64", 1, "")
    assert listing.bytes == sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file())


def test_a_run_that_says_it_is_running_and_is_held_by_nobody_was_stopped(tmp_path, write_run):
    run = write_run(tmp_path, "adana", 0, state="running", stop=400)
    assert listed(tmp_path)[run.name].state == "stopped"
    with run.lock():
        assert run.held
        assert listed(tmp_path)[run.name].state == "running"
    assert not run.held


def test_directories_that_cannot_be_read_are_listed_with_their_problem(tmp_path, write_run):
    names = {}
    for seed, what in enumerate(("version", "config", "status", "metrics", "list")):
        names[what] = write_run(tmp_path, "adana", seed)
    old = names["version"].path / "config.json"
    write_json(old, read_json(old) | {"version": 0})
    (names["config"].path / "config.json").write_text("{half")
    (names["status"].path / "status.json").write_text("")
    rows = (names["metrics"].path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (names["metrics"].path / "metrics.jsonl").write_text("".join([*rows[:5], "x\n", *rows[5:]]))
    (names["list"].path / "config.json").write_text("[]")
    found = listed(tmp_path)
    problems = {what: found[run.name].problem for what, run in names.items()}
    assert "config.json has format 0, this adana reads" in problems["version"]
    assert found[names["version"].name].label == "adana"
    assert "config.json cannot be read as JSON" in problems["config"]
    assert found[names["config"].name].loss is not None
    assert "status.json cannot be read" in problems["status"]
    assert found[names["status"].name].state == "broken"
    assert "metrics.jsonl has a line that is not JSON" in problems["metrics"]
    assert "config.json is not a JSON object" in problems["list"]


def test_a_last_line_that_a_kill_cut_short_is_no_problem(tmp_path, write_run):
    run = write_run(tmp_path, "adana", 0)
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 20')
    (listing,) = list_runs(tmp_path)
    assert (listing.problem, listing.step) == ("", 2000)


def test_an_exported_model_is_no_run(tmp_path, write_run):
    write_run(tmp_path, "adana", 0)
    (tmp_path / "exported").mkdir()
    write_json(tmp_path / "exported" / "config.json", {"model_type": "adana"})
    (tmp_path / "exported" / "model.safetensors").write_bytes(b"")
    assert len(list_runs(tmp_path)) == 1


def test_only_the_end_of_a_long_record_is_read(tmp_path, write_run):
    run = write_run(tmp_path, "adana", 0)
    path = run.path / "metrics.jsonl"
    rest = path.read_bytes()
    path.write_bytes(b"not json, and far from the end\n" * (TAIL_BYTES // 10) + rest)
    problems = []
    training, evaluation = last_rows(run, problems)
    assert (training["step"], evaluation["step"]) == (2000, 2000)
    path.write_bytes(b"x" * TAIL_BYTES + b"\n" + rest)
    problems = []
    last_rows(run, problems)
    assert problems == []


def test_a_run_is_found_by_path_name_prefix_and_identity(tmp_path):
    for name in ("adamw-T10-s0-aabbcc", "adana-T10-s0-112233", "deep/adana-T10-s1-445566"):
        Run(tmp_path / name).create()
        write_json(tmp_path / name / "config.json", {})
    assert find_run(tmp_path, "adamw").name == "adamw-T10-s0-aabbcc"
    assert find_run(tmp_path, "1122").name == "adana-T10-s0-112233"
    assert find_run(tmp_path, "adana-T10-s1").name == "adana-T10-s1-445566"
    assert find_run(tmp_path / "x", str(tmp_path / "deep/adana-T10-s1-445566")).path.exists()
    with pytest.raises(RunError, match="begins the names of 2 runs:\n  adana-T10-s0-112233\n"):
        find_run(tmp_path, "adana")
    with pytest.raises(RunError, match=r"no run below .* is called 'adanna'.*\n  adana"):
        find_run(tmp_path, "adanna")
    with pytest.raises(RunError, match="there is none below"):
        find_run(tmp_path / "nowhere", "adana")


def test_a_list_is_filtered_and_sorted_with_unknown_values_last(tmp_path, write_run):
    good = write_run(tmp_path, "adana", 0, gain=0.3)
    poor = write_run(tmp_path, "adamw", 0)
    new = Run(tmp_path / "zz-new")
    new.create()
    write_json(new.path / "config.json", read_json(good.path / "config.json"))
    names = [each.name for each in select(list_runs(tmp_path), sort="loss")]
    assert names == [good.name, poor.name, "zz-new"]
    assert [each.name for each in select(list_runs(tmp_path), state=["new"])] == ["zz-new"]
    assert [each.name for each in select(list_runs(tmp_path), contains="ADAMW")] == [poor.name]
    assert select(list_runs(tmp_path), sort="tokens")[-1].name == "zz-new"


def test_files_that_branches_share_free_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "shared").write_bytes(b"x" * 100)
    (tmp_path / "a" / "own").write_bytes(b"x" * 10)
    os.link(tmp_path / "a" / "shared", tmp_path / "elsewhere")
    assert disk_bytes(tmp_path / "a") == 110
    assert disk_bytes(tmp_path / "a", shared=False) == 10
    assert disk_bytes(tmp_path / "nothing") == 0


def test_differences_name_what_differs_and_leave_words_out():
    one = {"a": {"lr": 0.1, "same": 1}, "provenance": {"lr": "a law"}, "only": True}
    two = {"a": {"lr": 0.25, "same": 1}, "provenance": {"lr": "a sweep"}}
    assert differences([one, two]) == {"a.lr": ["0.1", "0.25"], "only": ["True", "-"]}
    assert differences([one, one]) == {}


def test_a_sparkline_falls_with_the_loss_and_leaves_nan_blank():
    assert sparkline([4.0, float("nan"), 2.0, 1.0]) == "█ ▃▁"
    assert sparkline([]) == ""
    assert sparkline([3.0, 3.0]) == "▁▁"
    assert len(sparkline(list(range(1000)), width=30)) == 30


def test_a_chart_marks_each_curve_with_its_letter():
    falling = [(step, 10.0 / step) for step in range(1, 101)]
    chart = line_chart({"one": falling, "two": [(x, y + 1) for x, y in falling]}, width=40)
    lines = chart.splitlines()
    assert lines[-2:] == [" " * 10 + "a one", " " * 10 + "b two"]
    assert lines[0].startswith("   3.000 |"), "the fall of the first steps is cut off"
    assert lines[13].startswith("   0.100 |")
    assert lines[13].endswith("a")
    assert "100 step" in lines[15]
    assert line_chart({"nothing": []}) == ""
    assert "a flat" in line_chart({"flat": [(1, 2.0), (2, 2.0)]})


def test_a_follower_sees_rows_as_they_come_and_reads_again_after_a_cut(tmp_path):
    run = Run(tmp_path / "run")
    run.create()
    follower = Follower(run, steps=10)
    assert follower.read() == []
    assert follower.seconds_left is None
    for step in (2, 4):
        timing = {"seconds": step * 3.0, "tokens_per_second": 100.0 + step}
        run.append_metrics({"step": step, "train_loss": 5.0 - step, "timing": timing})
    run.append_metrics({"step": 4, "val_loss": float("nan")})
    with open(run.path / "metrics.jsonl", "a") as file:
        file.write('{"step": 6, "train')
    assert [row["step"] for row in follower.read()] == [2, 4, 4]
    assert follower.read() == []
    assert (follower.step, follower.tokens_per_second) == (4, 104.0)
    assert follower.seconds_left == pytest.approx(18.0)
    assert follower.smooth_loss == 2.0
    run.truncate_metrics(2)
    assert [row["step"] for row in follower.read()] == [2]
    assert follower.training == [(2, 3.0)]
