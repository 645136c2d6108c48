"""`adana rules`, and the verbs that take its files."""

import json
import math
import re
import shutil
from pathlib import Path

import pytest

from adana.cli import main
from adana.cli.choices import configure
from adana.cli.compare import CompareArguments
from adana.ladder import open_rules
from adana.runs import find_runs
from tests.train.conftest import write_corpus

from ..ladder.tuned_runs import best_lr, bowl_runs, pretend, tuned_config

SIZE = (
    *("--heads", "4", "--head-dim", "16", "--sequence-length", "64", "--batch-size", "8"),
    *("--vocab-size", "300", "--eval-tokens", "512", "--device", "cpu", "--threads", "1"),
)


def adana(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def written(file):
    return json.loads(Path(file).read_text())


def words(text):
    return " ".join(text.split())


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "200")
    write_corpus(tmp_path / "texts")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fitted")
    bowl_runs(folder / "tuned")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert adana("rules", "fit", "tuned", "--output", "rules.json", "--bootstrap", "0") == 0
    return folder / "rules.json"


@pytest.fixture
def file(fitted, tmp_path):
    shutil.copy(fitted, tmp_path)
    return fitted.name


def test_fit_shows_bowls_and_forms_and_writes_the_best(tmp_path, capsys):
    bowl_runs(tmp_path / "tuned")
    file = "rules.json"
    assert adana("rules", "fit", "tuned", "--output", file, "--bootstrap", "10") == 0
    out = words(capsys.readouterr().out)
    assert "adamw (enoki): best lr at each size" in out
    assert "adamw: rules, the best first" in out
    assert "adamw: lr = a / width with a = 0.5" in out
    assert written(file)["rules"][0]["form"] == "width"


def test_another_form_can_be_asked_for(tmp_path):
    bowl_runs(tmp_path / "tuned", heads=(2, 4, 8))
    file = "rules.json"
    arguments = ("--bootstrap", "0", "--form", "power")
    assert adana("rules", "fit", "tuned", "--output", file, *arguments) == 0
    assert written(file)["rules"][0]["form"] == "power"


def test_a_size_whose_best_rate_is_at_its_grids_end_is_named_and_left_out(tmp_path, capsys):
    bowl_runs(tmp_path / "tuned", heads=(2, 4))
    bowl_runs(tmp_path / "tuned", heads=(12,), rates=(1, 2, 3))
    arguments = ("rules", "fit", "tuned", "--output", "rules.json", "--bootstrap", "0")
    assert adana(*arguments) == 0
    assert "lower end: try lower values of learning rate" in words(capsys.readouterr().out)
    assert written("rules.json")["rules"][0]["fitted"]["width"] == [32, 64]
    assert adana(*arguments, "--use-edges") == 0
    assert written("rules.json")["rules"][0]["fitted"]["width"] == [32, 192]


def test_without_a_bracketed_optimum_there_is_no_rule(tmp_path, capsys):
    bowl_runs(tmp_path / "tuned", heads=(2,), rates=(1, 2))
    assert adana("rules", "fit", "tuned", "--output", "rules.json") == 2
    assert "no size has a bracketed lr" in capsys.readouterr().err
    assert not (tmp_path / "rules.json").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("nowhere", "--output", "r.json"), 1, "no run directory"),
        (("new", "--output", "r.json"), 1, "none of the runs is finished"),
        (("new", "--output", "r.json", "--form", "cubic"), 2, "unknown form of rule 'cubic'"),
        (("new", "--output", "no/r.json"), 2, "a folder that does not exist"),
        (("new", "--output", "new"), 2, "is a folder, expected a file"),
        (("new", "--output", "r.json", "--level", "90"), 2, "between 0 and 1"),
        (("new", "--output", "r.json", "--bootstrap", "-1"), 2, "0 or more"),
    ],
)
def test_what_cannot_be_fitted_is_an_error_with_advice(tmp_path, capsys, arguments, code, said):
    pretend(tmp_path / "new", tuned_config(), None, "interrupted")
    assert adana("rules", "fit", *arguments) == code
    assert said in capsys.readouterr().err


def test_show_tells_a_rule_with_its_provenance_and_evaluates_it(file, capsys):
    small = ("--head-dim", "16", "--vocab-size", "512", "--sequence-length", "64")
    assert adana("rules", "show", file, "--heads", "4", "40", *small, "--batch-size", "8") == 0
    out = words(capsys.readouterr().out)
    for text in (
        "lr of adamw (enoki)",
        "lr = a / width with a = 0.5",
        "marin issue 725",
        "width fitted from 32 to 192",
        "40: ",
        "0.007812",  # 0.5 / 64
        "extrapolated from P of",
    ):
        assert text in out


def test_train_takes_its_learning_rate_from_a_rule_unless_one_is_given(file, tmp_path, capsys):
    training = ("train", "--data", "texts", "--steps", "8", *SIZE, "--optimizer", "adamw")
    assert adana(*training, "--rules", file) == 0
    out = words(capsys.readouterr().out)
    assert "learning rate 0.007812: rule a / width with a = 0.5 (rules.json; 40 runs" in out
    assert "extrapolated from D/N" in out
    (run,) = find_runs(tmp_path / "runs")
    config = run.config()
    assert config["optimizer"]["lr"] == pytest.approx(best_lr(4))
    assert config["provenance"]["lr"].startswith("rule a / width")
    assert adana(*training, "--rules", file, "--lr", "0.001") == 0
    assert "learning rate 0.001: given on the command line" in words(capsys.readouterr().out)


def test_a_comparison_takes_rules_where_there_are_some_and_laws_elsewhere(file):
    arguments = CompareArguments(heads=4, head_dim=16, rules=(Path(file),))
    rules = open_rules(arguments.rules)
    sources = {
        name: configure(arguments, name, None, rules).provenance["lr"]
        for name in ("adamw", "adana")
    }
    assert sources["adamw"].startswith("rule a / width with a = 0.5 (rules.json")
    assert sources["adana"].startswith("published Enoki law")
    assert configure(arguments, "adamw", 0.1, rules).optimizer.lr == 0.1


def test_a_comparison_without_an_optimizer_of_the_rules_is_refused(file, capsys):
    assert adana("compare", "adana", "dana-mk4", "--data", "texts", "--rules", file) == 2
    assert "has rules for adamw, none for adana, dana-mk4" in capsys.readouterr().err


def test_a_rule_for_omega_is_used_unless_omega_is_given(tmp_path, capsys):
    for omega in (2.0, 4.0, 8.0):
        for i in (-1, 0, 1):
            loss = 4 + 0.02 * i**2 + 0.05 * math.log(omega / 5) ** 2
            pretend(tmp_path / "tuned", tuned_config(lr=best_lr(2) * 2.0**i, omega=omega), loss)
    arguments = ("--hyperparameter", "omega", "--bootstrap", "0")
    assert adana("rules", "fit", "tuned", "--output", "omega.json", *arguments) == 0
    training = ("train", "--data", "texts", "--steps", "8", *SIZE, "--lr", "0.001")
    capsys.readouterr()
    assert adana(*training, "--optimizer", "adamw", "--rules", "omega.json") == 0
    assert "omega 5 (rule a with a = 5 (omega.json" in words(capsys.readouterr().out)
    assert adana(*training, "--optimizer", "adamw", "--rules", "omega.json", "--omega", "3") == 0
    assert "omega 3 timescale" in words(capsys.readouterr().out)


def test_a_rule_for_kappa_is_used_by_what_reads_it_unless_kappa_is_given(tmp_path, capsys):
    for heads in (2, 4):
        for kappa in (0.7, 0.8, 0.9):
            for i in (-1, 0, 1):
                loss = 4 + 0.02 * i**2 + math.log(kappa / 0.8) ** 2
                rate = best_lr(heads) * 2.0**i
                config = tuned_config("adana", heads, lr=rate, kappa=kappa)
                pretend(tmp_path / "tuned", config, loss)
    fit = ("rules", "fit", "tuned", "--output", "kappa.json", "--hyperparameter", "kappa")
    assert adana(*fit, "--form", "constant", "--bootstrap", "0") == 0
    capsys.readouterr()
    assert adana("rules", "show", "kappa.json", "--heads", "6") == 0
    assert "kappa of adana" in words(capsys.readouterr().out)
    training = ("train", "--data", "texts", "--steps", "60", *SIZE, "--lr", "0.001")
    assert adana(*training, "--optimizer", "adana", "--rules", "kappa.json") == 0
    assert "kappa 0.8: rule a with a = 0.8 (kappa.json" in words(capsys.readouterr().out)
    (run,) = find_runs(Path("runs"))
    assert run.config()["optimizer"]["kappa"] == pytest.approx(0.8, rel=1e-3)
    given = ("--rules", "kappa.json", "--kappa", "0.9")
    assert adana(*training, "--optimizer", "adana", *given) == 0
    assert "rule a with" not in words(capsys.readouterr().out)


def test_a_rule_file_without_a_rule_for_the_optimizer_is_refused(file, capsys):
    assert adana("train", "--data", "texts", "--optimizer", "adana", "--rules", file) == 2
    assert "has rules for adamw, none for adana" in capsys.readouterr().err


def test_a_search_of_an_optimizer_without_a_rule_in_the_file_is_refused(file, capsys):
    assert adana("tune", "adana", "--data", "texts", "--rules", file, "--plan") == 2
    assert "has rules for adamw, none for adana" in capsys.readouterr().err


def test_a_plan_takes_rules_and_marks_what_is_extrapolated(file, capsys):
    arguments = ("ladder", "plan", "enoki", "--heads", "6", "--rules", file, "--json", "plan.json")
    assert adana(*arguments) == 0
    out = words(capsys.readouterr().out)
    assert "adamw: rule a / width with a = 0.5 (rules.json" in out
    assert "extrapolated from P of" in out
    adamw, ours = written("plan.json")["trainings"]
    assert adamw["lr"] == pytest.approx(0.5 / 384)
    assert ours["lr_law"]["optimizer"] == "adana"


def test_a_timescale_in_epochs_sets_omega_and_is_recorded(tmp_path, capsys):
    training = ("train", "--data", "texts", "--steps", "8", *SIZE, "--lr", "0.001")
    assert adana(*training, "--optimizer", "adamw", "--tau-epochs", "2") == 0
    out = words(capsys.readouterr().out)
    assert "omega = epochs / tau, --tau-epochs 2" in out
    assert re.search(r"timescale \d+ steps = 2\.000 epochs at the peak", out)
    (run,) = find_runs(tmp_path / "runs")
    summary = run.summary()
    assert summary["weight_decay"]["tau_epochs"] == pytest.approx(2.0)
    assert summary["weight_decay"]["omega"] == pytest.approx(summary["epochs"] / 2)
    assert run.config()["optimizer"]["omega"] == summary["weight_decay"]["omega"]
    assert adana("runs", "show", run.name) == 0
    assert "weight_decay.tau_epochs 2" in words(capsys.readouterr().out)


def test_omega_and_its_timescale_cannot_both_be_given():
    assert adana("train", "--omega", "2", "--tau-epochs", "1") == 2
