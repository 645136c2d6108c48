import io
import json
import math

from rich.console import Console

from adana.report import (
    Trial,
    all_charts,
    as_dict,
    compare,
    markdown,
    read_trials,
    render,
    sweep_edges,
)
from adana.report.sweep import sweep_table

from .conftest import write_run


def sweep_runs(root):
    losses = {1e-3: 0.0, 4e-3: 0.3, 2e-3: 0.1}
    runs = [
        write_run(root / f"{lr}", "adana", 0, gain=gain, optimizer=optimizer("adana", lr))
        for lr, gain in losses.items()
    ]
    diverged = optimizer("adana", 8e-3)
    return [*runs, write_run(root / "d", "adana", 0, state="diverged", stop=50, optimizer=diverged)]


def optimizer(label, lr):
    return {"name": "adana", "label": label, "lr": lr, "omega": 4.0, "delta": 8.0}


def test_trials_are_sorted_by_rate_and_the_best_is_marked(tmp_path):
    trials = read_trials(sweep_runs(tmp_path))
    assert [trial.lr for trial in trials] == [1e-3, 2e-3, 4e-3, 8e-3]
    assert [trial.best for trial in trials] == [False, False, True, False]
    assert trials[-1].loss is None


def test_a_label_that_always_diverged_has_no_best(tmp_path):
    run = write_run(tmp_path, "adana", 0, state="diverged", stop=50)
    assert [trial.best for trial in read_trials([run])] == [False]


def test_the_sweep_is_in_every_output(tmp_path):
    trials = [Trial("adamw", 0.001, 3.5, False), Trial("adamw", 0.002, 3.25, True),
              Trial("adana", 0.004, None, False)]  # fmt: skip
    runs = [write_run(tmp_path / "a", "adamw", 0), write_run(tmp_path / "a", "adana", 0)]
    comparison = compare(runs, "adamw", trials)
    assert "sweep" in all_charts(comparison)
    assert "3.2500 (best)" in markdown(comparison)
    assert "diverged" in markdown(comparison)
    assert "Learning-rate sweep" in render(comparison)
    assert json.loads(json.dumps(as_dict(comparison)["sweep"]))[1]["best"] is True
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(sweep_table(trials))
    assert "3.2500 (best)" in console.export_text()


def test_without_a_sweep_there_is_no_chart_of_one(tmp_path):
    runs = [write_run(tmp_path, "adamw", 0), write_run(tmp_path, "adana", 0)]
    comparison = compare(runs, "adamw")
    assert "sweep" not in all_charts(comparison)
    assert "Learning-rate sweep" not in render(comparison)
    assert not any(math.isnan(trial.lr) for trial in comparison.sweep)


def test_a_rate_whose_training_failed_is_no_end_and_is_told(runs):
    sweep = [
        Trial("adamw", 0.001, None, False, "failed"),
        Trial("adamw", 0.002, 3.0, True),
        Trial("adamw", 0.004, None, False, "diverged"),
    ]
    comparison = compare(runs, "adamw", sweep)
    text = markdown(comparison)
    assert "| adamw | 0.001 | failed |" in text
    assert "| adamw | 0.004 | diverged |" in text
    assert "In the sweep of adamw, trainings failed (0.001): its rate was chosen among" in text
    assert sweep_edges(sweep) == {"adamw": "lower"}
