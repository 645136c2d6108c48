"""What can go, and that nothing else goes."""

import pytest

from adana.pruning import carry_out, plan
from adana.report import list_runs
from adana.runs import CONFIG_VERSION, Run, write_json
from adana.train import list_checkpoints

MANIFEST = {"files": {"weights": {"bytes": 1000}}}


def make(root, name, state, steps=(10, 20, 30), unfinished=False):
    run = Run(root / name)
    run.create()
    write_json(run.path / "config.json", {"version": CONFIG_VERSION, "steps": 30})
    run.set_status(state, step=steps[-1] if steps else 0, reason="")
    if state == "finished":
        write_json(run.path / "summary.json", {"val_loss": 2.0})
    names = [f"step-{step:08d}" for step in steps] + [".unfinished-step-00000040"] * unfinished
    for checkpoint in names:
        folder = run.checkpoints / checkpoint
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"x" * 1000)
        if not checkpoint.startswith("."):
            write_json(folder / "manifest.json", MANIFEST)
    return run


def planned(root, **settings):
    return [(r.run.name, r.what) for r in plan(list_runs(root), **settings)]


def left(run):
    return sorted(path.name for path in run.checkpoints.iterdir())


def test_the_newest_checkpoint_of_a_finished_run_stays(tmp_path):
    run = make(tmp_path, "a", "finished")
    assert planned(tmp_path) == [("a", "step-00000010"), ("a", "step-00000020")]
    assert planned(tmp_path, keep=2) == [("a", "step-00000010")]
    assert planned(tmp_path, keep=5) == []
    assert len(planned(tmp_path, keep=0)) == 3
    freed, kept = carry_out(plan(list_runs(tmp_path)))
    assert (left(run), kept) == (["step-00000030"], [])
    manifest = (run.checkpoints / "step-00000030" / "manifest.json").stat().st_size
    assert freed == 2 * (1000 + manifest)
    assert run.finished


@pytest.mark.parametrize("damage", ["truncated", "missing", "no manifest"])
def test_a_damaged_newest_checkpoint_does_not_cost_the_last_one_that_is_whole(damage, tmp_path):
    run = make(tmp_path, "a", "finished")
    newest = run.checkpoints / "step-00000030"
    if damage == "truncated":
        (newest / "weights").write_bytes(b"x" * 999)
    else:
        (newest / ("weights" if damage == "missing" else "manifest.json")).unlink()
    assert planned(tmp_path) == [("a", "step-00000010")]
    assert planned(tmp_path, keep=2) == []


def test_checkpoints_to_branch_from_stay_unless_none_shall(tmp_path):
    run = make(tmp_path, "trunk", "finished")
    write_json(run.path / "config.json", run.config() | {"layout": {"keep_every": 20}})
    assert planned(tmp_path) == [("trunk", "step-00000010")]
    assert len(planned(tmp_path, keep=0)) == 3


def test_what_a_later_session_was_told_to_keep_stays_too(tmp_path):
    run = make(tmp_path, "trunk", "finished")
    sessions = [{"from_step": 0}, {"from_step": 12, "keep_every": 20}]
    write_json(run.path / "environment.json", {"sessions": sessions})
    assert planned(tmp_path) == [("trunk", "step-00000010")]


def test_runs_that_can_go_on_keep_their_checkpoints(tmp_path):
    for state in ("interrupted", "failed", "running"):
        make(tmp_path, state, state, unfinished=state == "interrupted")
    assert planned(tmp_path) == [("interrupted", ".unfinished-step-00000040")]


def test_failed_and_empty_runs_go_whole_when_asked_for(tmp_path):
    for name, state, steps in (
        ("bad", "failed", (10,)),
        ("wild", "diverged", (10,)),
        ("empty", "new", ()),
        ("good", "finished", (30,)),
    ):
        make(tmp_path, name, state, steps)
    assert planned(tmp_path) == []
    assert planned(tmp_path, failed=True) == [("bad", "everything"), ("wild", "everything")]
    assert planned(tmp_path, empty=True) == [("empty", "everything")]
    carry_out(plan(list_runs(tmp_path), failed=True, empty=True))
    assert [path.name for path in tmp_path.iterdir()] == ["good"]


def test_a_run_that_is_held_is_never_touched(tmp_path):
    run = make(tmp_path, "a", "finished")
    removals = plan(list_runs(tmp_path))
    with run.lock():
        assert planned(tmp_path, failed=True, empty=True, keep=0) == []
        freed, kept = carry_out(removals)
    assert freed == 0
    assert "in use by another process" in kept[0]
    assert len(left(run)) == 3


def test_a_directory_with_a_problem_is_left_alone(tmp_path):
    run = make(tmp_path, "a", "failed")
    write_json(run.path / "config.json", {"version": 1})
    assert planned(tmp_path, failed=True) == []


def test_something_deleted_meanwhile_frees_nothing(tmp_path):
    run = make(tmp_path, "a", "finished")
    removals = plan(list_runs(tmp_path))
    assert carry_out(removals)[0] > 0
    assert carry_out(removals) == (0, [])
    assert left(run) == ["step-00000030"]


def test_a_checkpoint_that_went_in_part_is_none(tmp_path, monkeypatch):
    run = make(tmp_path, "a", "finished")
    with monkeypatch.context() as patch:

        def killed(path, *_):
            next(path.glob("weights")).unlink()
            raise OSError("killed")

        patch.setattr("shutil.rmtree", killed)
        freed, kept = carry_out(plan(list_runs(tmp_path), keep=2))
    assert (freed, len(kept)) == (0, 1)
    assert [path.name for path in list_checkpoints(run.checkpoints)] == [
        "step-00000020",
        "step-00000030",
    ]
    carry_out(plan(list_runs(tmp_path), keep=2))
    assert left(run) == ["step-00000020", "step-00000030"]


def test_a_negative_number_to_keep_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--keep must be at least 0"):
        plan([], keep=-1)
