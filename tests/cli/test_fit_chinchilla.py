"""`adana fit --form chinchilla` on a table: tables, statements and the JSON."""

import csv
import json

import numpy as np
import pytest

from adana.cli import main
from adana.laws.chinchilla import ChinchillaLaw

TRUTH = ChinchillaLaw(1.8, 480.0, 2080.0, 0.35, 0.37)


@pytest.fixture
def table(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "losses.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["optimizer", "parameters", "tokens", "loss"])
        for name, gain in (("adamw", 1.0), ("adana", 1.3)):
            for n in np.geomspace(5e7, 5e9, 5):
                for ratio in (5, 20, 80):
                    loss = TRUTH(n, gain * ratio * n) * np.exp(0.0005 * rng.standard_normal())
                    writer.writerow([name, n, ratio * n, loss])
    return path


def fit(*words):
    with pytest.raises(SystemExit) as ended:
        main(["fit", *map(str, words)])
    return ended.value.code


def test_a_table_gives_efficiencies_with_intervals_that_hold_the_truth(table, tmp_path, capsys):
    output = tmp_path / "fit.json"
    words = ("--form", "chinchilla", "--bootstrap", 60, "--output", output)
    assert fit(table, *words) == 0
    said = capsys.readouterr().out
    assert "rho_D" in said
    assert "simulated data sets" in said
    written = json.loads(output.read_text())
    assert set(written["fits"]) == {"adamw", "adana"}
    found = written["efficiencies"]["adana"]["rho_D"]
    assert found["low"] < found["value"] < found["high"]
    assert found["value"] == pytest.approx(1.3, abs=0.05)


def test_a_baseline_that_is_not_there_is_named(table, capsys):
    assert fit(table, "--form", "chinchilla", "--baseline", "muon") == 1
    assert "no run of the baseline 'muon'" in capsys.readouterr().err
