"""The verbs as a user meets them: what they write, what they say, how they exit."""

import inspect
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from adana.cli import VERBS, load_verb, main
from adana.cli.choices import configure
from adana.cli.help_texts import dataclasses_in
from adana.cli.settings import Settings
from adana.ladder import open_rules
from adana.runs import CONFIG_VERSION, Run, find_runs
from adana.train import load_trained
from tests.train.conftest import write_corpus

TINY = [
    *("--heads", "1", "--head-dim", "8", "--layers", "1", "--sequence-length", "16"),
    *("--batch-size", "4", "--steps", "12", "--vocab-size", "300", "--eval-tokens", "256"),
    *("--device", "cpu", "--threads", "1"),
]


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _here(tmp_path, cache, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "100")
    write_corpus(tmp_path / "corpus")


def adana(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def train(*arguments: str) -> int:
    return adana("train", "--data", "corpus", *TINY, *arguments)


def compare(*arguments: str) -> int:
    return adana("compare", *arguments[:2], "--data", "corpus", *TINY, *arguments[2:])


def report_folder(tmp_path) -> Path:
    (folder,) = (tmp_path / "runs").glob("compare-ad*")
    return folder


def test_train_prints_every_derived_number_and_where_it_comes_from(capsys, tmp_path):
    assert train("--optimizer", "adana") == 0
    out = capsys.readouterr().out
    for text in (
        "8 = 1 heads x 8",
        "768 = 12 steps x 4 x 16",
        "published Enoki law",
        "extrapolated",
        "S = 4 steps (omega, as T/10 is less)",
        "finished: validation loss",
        "tokens/s; time: data ",
    ):
        assert text in out
    (run,) = find_runs(tmp_path / "runs")
    assert run.finished
    assert "published" in run.config()["provenance"]["lr"]
    assert train("--optimizer", "adana") == 0
    assert "already trained" in capsys.readouterr().out


def test_train_with_adamw_prints_weight_decay_and_its_timescale(capsys):
    assert train("--optimizer", "adamw", "--lr", "0.01") == 0
    out = capsys.readouterr().out
    said = " ".join(out.split())
    assert "33.33 = omega / (lr T), omega 4 timescale 3 steps" in said
    assert "at the peak (step 1), 26 steps" in said  # gamma(12) is 0.115 with a cosine to 0.1
    assert "lr wd T = 4 before the schedule" in said
    assert "given on the command line" in out


def test_how_often_is_evaluated_and_logged_can_be_said(tmp_path):
    assert train("--lr", "0.01", "--eval-every", "6", "--log-every", "4", "--run", "run") == 0
    rows = list(Run(tmp_path / "run").metrics())
    assert [row["step"] for row in rows if "val_loss" in row] == [0, 6, 12]
    assert [row["step"] for row in rows if "train_loss" in row] == [4, 8, 12]
    assert train("--lr", "0.01") == train("--lr", "0.01", "--eval-every", "1") == 0
    assert len(find_runs(tmp_path / "runs")) == 1  # what is the default is the same run


def test_a_printed_command_with_defaults_that_the_optimizer_does_not_read_is_taken():
    defaults = ("--kappa", "0.85", "--delta", "8.0", "--momentum-scale", "1.0")
    assert train("--optimizer", "adamw", "--lr", "0.01", *defaults) == 0


def test_the_last_line_has_the_losses_of_averages_which_can_be_sampled(capsys, tmp_path):
    averages = ("--averages", "ema:0.9", "tail:0.5")
    assert train("--lr", "0.01", *averages, "--run", "run") == 0
    own = Run(tmp_path / "run").summary()["averages"]
    told = ", ".join(f"{name} {own[name]['val_loss']:.4f}" for name in averages[1:])
    assert f"bits per byte; of averages: {told}" in capsys.readouterr().out
    greedy = ("--temperature", "0", "--tokens", "5", "--prompt", "def")
    assert adana("sample", "run", *greedy, "--average", "tail:0.5") == 0
    assert capsys.readouterr().out.startswith("def")
    assert adana("sample", "run", "--average", "tail:0.1") == 1
    assert "has no average 'tail:0.1' of the weights: it has ema:0.9, tail:0.5" in (
        capsys.readouterr().err
    )


def test_an_average_is_exported_with_its_loss_in_the_card(capsys, tmp_path, monkeypatch):
    assert train("--lr", "0.01", "--averages", "ema:0.9", "--run", "run") == 0
    exported = []
    hf = SimpleNamespace(export_model=lambda *arguments: exported.append(arguments))
    monkeypatch.setitem(sys.modules, "adana.hf", hf)
    assert adana("export", "run", "--to", "there", "--average", "ema:0.9") == 0
    assert "exported the average ema:0.9 of run after 12 steps" in capsys.readouterr().out
    ((_, model, _, card),) = exported
    assert torch.equal(model.head.weight, load_trained("run", average="ema:0.9").head.weight)
    assert not torch.equal(model.head.weight, load_trained("run").head.weight)
    loss = Run(tmp_path / "run").summary()["averages"]["ema:0.9"]["val_loss"]
    said = "The weights are the average `ema:0.9` of those of the run; its validation loss at step"
    assert f"## Results\n\n{said} 12 is {loss:.4f} nats a token. The numbers that" in card


def test_a_diverged_training_has_its_own_exit_code(capsys):
    assert train("--lr", "1e30") == 3
    assert "diverged: " in capsys.readouterr().out


def test_compare_writes_a_report_and_reuses_finished_runs(capsys, tmp_path):
    arguments = ("adamw", "adana", "--seeds", "1", "--horizons", "1", "1.5")
    assert compare(*arguments) == 0
    out = capsys.readouterr().out
    folder = report_folder(tmp_path)
    assert "Results: adana against adamw, 12 steps" in out
    assert f"report: {folder / 'report.html'}" in out
    assert re.search(r"step \d+/12, loss \d", out), "plain progress lines without a terminal"
    runs = find_runs(tmp_path / "runs")
    assert len(runs) == 3
    assert {(r.config()["steps"], r.config()["optimizer"]["name"]) for r in runs} == {
        (12, "adamw"), (18, "adamw"), (12, "adana"),
    }  # fmt: skip
    table = json.loads((folder / "comparison.json").read_text())
    assert table["baseline"] == "adamw"
    assert "adana" in (folder / "comparison.md").read_text()
    assert (folder / "validation.svg").stat().st_size > 1000
    before = {run.name: (run.path / "summary.json").stat().st_mtime_ns for run in runs}
    assert compare(*arguments) == 0
    assert "reusing 3 finished runs" in capsys.readouterr().out
    assert before == {
        run.name: (run.path / "summary.json").stat().st_mtime_ns for run in find_runs(folder.parent)
    }
    assert adana("report", "runs", "--output", "again") == 0
    assert (tmp_path / "again" / "report.html").exists()


def test_all_runs_of_a_comparison_start_from_the_same_weights_and_data(tmp_path):
    assert compare("adamw", "adana", "--seeds", "1") == 0
    first = {}
    for run in find_runs(tmp_path / "runs"):
        rows = list(run.metrics())
        name = run.config()["optimizer"]["name"]
        first[name] = (rows[0]["val_loss"], rows[1]["train_loss"])
    assert first["adamw"] == first["adana"]


def test_an_optimizer_is_compared_with_itself_at_other_values(capsys, tmp_path):
    given = ("--omega", "2", "--kappa", "0.8", "--seeds", "1")
    rates = ("--lr", "adana=0.01", "adana:kappa=0.9=0.02")
    assert compare("adana", "adana:kappa=0.90", *given, *rates) == 0
    optimizers = {
        r.config()["optimizer"]["label"]: r.config()["optimizer"]
        for r in find_runs(tmp_path / "runs")
    }
    own = optimizers["adana:kappa=0.9"]
    assert (own["name"], own["lr"], own["kappa"], own["omega"]) == ("adana", 0.02, 0.9, 2.0)
    plain = optimizers["adana"]
    assert (plain["lr"], plain["kappa"], plain["omega"]) == (0.01, 0.8, 2.0)
    assert report_folder(tmp_path).name.startswith("compare-adana-adana-kappa0.9-")
    rows = json.loads((report_folder(tmp_path) / "comparison.json").read_text())["rows"]
    assert [row["label"] for row in rows] == ["adana", "adana:kappa=0.9"]
    capsys.readouterr()
    assert compare("adana:kappa=0.9", "adana:kappa=0.90") == 2
    assert "adana:kappa=0.90 is named twice" in capsys.readouterr().err


def test_a_sweep_trains_each_rate_once_and_takes_the_best(capsys, tmp_path):
    rates = ("--lr", "adamw=0.01", "adana=0.01")
    assert compare("adamw", "adana", "--seeds", "1", "--sweep-lr", "3", *rates) == 0
    out = capsys.readouterr().out
    runs = find_runs(tmp_path / "runs")
    lrs = {(r.config()["optimizer"]["name"], r.config()["optimizer"]["lr"]) for r in runs}
    assert lrs == {(name, lr) for name in ("adamw", "adana") for lr in (0.005, 0.01, 0.02)}
    assert "Learning-rate sweep" in out
    losses = {
        r.config()["optimizer"]["lr"]: r.summary()["val_loss"]
        for r in runs
        if r.config()["optimizer"]["name"] == "adana"
    }
    table = json.loads((report_folder(tmp_path) / "comparison.json").read_text())
    row = next(row for row in table["rows"] if row["label"] == "adana")
    assert row["learning_rate"] == min(losses, key=losses.get)
    assert len(table["sweep"]) == 6
    page = (report_folder(tmp_path) / "report.html").read_text()
    assert "sweep of 3 rates by factors of 2 around 0.01" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--optimizer", "adan"), "unknown optimizer 'adan', expected one of\n  adamw "),
        (("train", "--optimizer", "adana:kappa=0.9"), "name it adana and give them as flags"),
        (("train", "--lr", "0"), "lr must be a finite number in (0"),
        (("train", "--lr", "-1"), "lr must be a finite number in (0"),
        (("train", "--kappa", "0.8", "--optimizer", "adana-released"), "Pass one (--lr)"),
        (
            ("train", "--optimizer", "adamw", "--kappa", "0.8"),
            "kappa 0.8 was given, but adamw does not read it. Leave it out, or take one that does:",
        ),
        (("train", "--optimizer", "muon", "--delta", "4"), "delta 4 was given, but muon does not"),
        (
            ("train", "--optimizer", "adamw", "--momentum-scale", "2"),
            "momentum_scale 2 was given, but adamw does not",
        ),
        (("compare", "adamw", "muon", "--kappa", "0.9"), "adamw and muon do not read it"),
        (("train", "--data", "nowhere"), "nowhere"),
        (("train", "--data", "empty"), "empty"),
        (("train", "--data", "corpus", "--vocab-size", "100"), "257"),
        (("train", "--data", "corpus", "--vocab-size", "0"), "vocab_size must be at least"),
        (("branch", "runs/trunk", "--steps"), "names no training length"),
        (("train", "--data", "corpus", "--vocab-size", "60000"), "--vocab-size"),
        (
            ("train", "--data", "corpus", "--vocab-size", "300", "--sequence-length", "100000"),
            "fewer than",
        ),
        (("train", "--heads", "0"), "heads must be at least 1"),
        (("train", "--eval-every", "0"), "eval_every must be at least 1"),
        (("compare", "adamw", "adan"), "unknown optimizer 'adan'"),
        (("compare", "adamw", "adamw"), "named twice"),
        (("compare", "adamw", "adana:kappa=0.9", "--kappa", "0.8"), "--kappa holds for none of"),
        (
            ("compare", "adana:kappa=0.9", "--lr", "adana:kappa=0.9"),
            "lacks the rate; write ad",
        ),
        (("compare", "adana", "adana:kappa=3"), "adana:kappa=3: kappa must be"),
        (("compare", "adamw", "--lr", "adana=1"), "names nothing that is compared"),
        (("compare", "adamw", "--lr", "adamw=fast"), "not NAME=VALUE"),
        (("compare", "adamw", "--seeds", "0"), "--seeds must be at least 1"),
        (("compare", "adamw", "--sweep-lr", "1"), "--sweep-lr takes 2 or more"),
        (("compare", "adamw", "--horizons", "0"), "--horizons must be positive"),
        (("compare", "adamw", "--horizons", "1", "inf"), "--horizons must be positive"),
        (("compare", "adamw", "--jobs", "0"), "--jobs must be at least 1"),
        (("compare", "adamw", "--runs", "file"), "--runs file is a file, expected a folder"),
        (("train", "--run", "file"), "--run file is a file, expected a folder"),
        (("compare", "adamw", "--lr", "adamw=1", "adamw=2"), "names adamw twice"),
        (("report", "empty"), "no run directory"),
        (("report", "nowhere"), "nowhere does not exist, expected a run directory"),
        (("report", "file"), "file is a file, expected a run directory"),
        (("schedules", "--steps", "10"), "steps must be from 100 to 10,000,000, got 10"),
        (("schedules", "--kappa", "2"), "--kappa must be a finite number in [0, 1], got 2"),
        (("schedules", "--omega", "0"), "--omega must be a finite number in (0"),
        (("schedules", "--betas", "0.9", "1"), "--betas must be a finite number in (0, 1)"),
        (("schedules", "--delta", "100", "--steps", "100"), "delta must be below steps"),
        (("schedules", "--picture", "all.pdf"), "--picture takes a .svg or .png file"),
        (("schedules", "--output", "nowhere/page.html"), "cannot write nowhere/page.html"),
    ],
)
def test_wrong_input_gets_one_clear_line_and_no_traceback(arguments, message, capsys, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    assert adana(*arguments) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


def test_a_run_directory_of_other_settings_is_refused(capsys):
    assert train("--run", "mine", "--lr", "0.01") == 0
    assert train("--run", "mine", "--lr", "0.02") == 1
    assert "optimizer.lr: 0.01 there, 0.02 asked for" in capsys.readouterr().err


def test_a_run_may_lie_below_its_own_text_and_go_on_but_not_hold_it(capsys, tmp_path):
    for rate in ("0.01", "0.02"):
        assert train("--data", ".", "--lr", rate) == 0
        assert "already trained" not in capsys.readouterr().out
    assert train("--data", ".", "--lr", "0.02") == 0
    assert "already trained" in capsys.readouterr().out
    for own in ("corpus", "."):
        assert train("--data", "corpus", "--run", own) == 1
        assert "holds the text that is to be trained on" in capsys.readouterr().err
    assert not list((tmp_path / "corpus").glob("*.json"))


def test_a_run_may_be_called_as_a_built_in_corpus(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path / "corpus"))
    (tmp_path / "corpus" / "a.py").write_text("x = 1\n" * 3000)
    (tmp_path / "corpus" / "b.py").write_text("y = 2\n" * 3000)
    for _ in range(2):
        assert adana("train", *TINY, "--run", "python", "--validation-fraction", "0.5") == 0
    assert "already trained" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "message"),
    [
        ("train", "adana: interrupted; the same command goes on where it was\n"),
        ("plrf", "adana: interrupted\n"),
    ],
)
def test_only_what_can_go_on_is_said_to_when_interrupted(verb, message, monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("adana.cli.load_verb", interrupted)
    assert adana(verb) == 130
    assert capsys.readouterr().err == message


def test_data_describes_the_corpus(capsys):
    assert adana("data", "--data", "corpus", "--vocab-size", "300") == 0
    out = capsys.readouterr().out
    assert "train" in out
    assert "bytes a token" in out


def test_schedules_writes_a_page_and_says_where_and_what(capsys, tmp_path):
    arguments = ("--steps", "1000", "--omega", "2", "--schedule", "wsd", "--picture", "all.svg")
    assert adana("schedules", *arguments) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"schedules: {tmp_path / 'schedules.html'}" in out
    assert f"picture: {tmp_path / 'all.svg'}" in out
    for text in ("mean age t / (delta + 1), 11.1 % of training", "omega 2", "warm-up 20 steps"):
        assert text in out
    page = (tmp_path / "schedules.html").read_text()
    assert "Schedules of a log-time optimizer over 1,000 steps" in page
    assert "mean age t / (delta + 1), 11.1 % of training" in page
    assert (tmp_path / "all.svg").read_text().startswith("<svg")


def test_the_version_names_what_a_report_of_a_defect_needs(capsys):
    assert adana("--version") == 0
    said = capsys.readouterr().out
    assert re.fullmatch(r"adana [\d.]+ \(Python 3[\d.]+, torch 2\.\S+\)\n", said)


@pytest.mark.parametrize("verb", VERBS)
def test_the_list_of_verbs_has_the_first_lines_of_their_help(verb):
    assert load_verb(verb)[0].__doc__.split("\n")[0] == VERBS[verb]


def test_help_lists_every_verb(capsys):
    assert adana("--help") == 0
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for verb, about in VERBS.items():
        assert f"{verb} {about}" in out


def test_a_verb_that_is_none_is_answered_with_those_that_are(capsys):
    assert adana("trian") == 2
    assert "train, branch, tune" in capsys.readouterr().err


def test_help_keeps_sentences_together_in_a_narrow_terminal(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert adana("ladder", "run", "--help") == 0
    assert "no more run at a time than fit in what is" in capsys.readouterr().out


@pytest.mark.parametrize("verb", VERBS)
def test_no_line_of_a_text_begins_with_a_sign_which_would_break_its_sentence(verb):
    """What tyro does with every line but examples, which are indented."""
    for kind in dataclasses_in(load_verb(verb)[0]):
        text = inspect.cleandoc(kind.__doc__)
        lines = [line for line in text.splitlines() if line]
        assert not [line for line in lines if not re.match(r"[A-Za-z]| {4}", line)]
        assert not re.search(r"\n\n {4}", text)  # an empty line before examples becomes two


def test_a_shell_learns_the_options_of_every_verb(capsys):
    assert not adana("--tyro-print-completion", "bash")
    out = capsys.readouterr().out
    assert "--sweep-lr" in out  # of compare
    assert "--tau-epochs" in out  # of train


def test_where_there_are_no_file_locks_it_is_said_what_to_do(monkeypatch, capsys):
    monkeypatch.setattr("sys.platform", "win32")
    assert adana("train", "--help") == 1
    assert "install adana inside WSL" in capsys.readouterr().err


@pytest.mark.parametrize("verb", VERBS)
def test_no_option_claims_a_default_of_none_or_nothing(verb, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "400")
    actions = {"ladder": ("plan", "run"), "plrf": ("risk",), "rules": ("fit",)}
    for action in actions.get(verb, ("",)):
        assert adana(*filter(None, (verb, action, "--help"))) == 0
        out = capsys.readouterr().out
        assert "-h, --help" in out
        assert not re.search(r"default: (None)?\)", out)


@pytest.mark.parametrize("verb", ["train", "compare", "report", "data", "schedules"])
def test_help_teaches_each_verb(verb, capsys):
    assert adana(verb, "--help") == 0
    out = capsys.readouterr().out
    assert f"usage: adana {verb}" in out
    assert "default" in out.lower()


# --- a run repeated from its record ---------------------------------------------------------------


def test_a_run_is_repeated_from_its_config_file(capsys, tmp_path):
    assert train("--optimizer", "adamw", "--lr", "0.01", "--omega", "3") == 0
    (run,) = find_runs(tmp_path / "runs")
    record = str(run.path / "config.json")
    assert adana("train", "--config", record, "--runs", "again", "--micro-batch", "1") == 0
    (again,) = find_runs(tmp_path / "again")
    assert again.name == run.name
    assert again.config()["optimizer"] == run.config()["optimizer"]
    assert again.summary()["val_loss"] == pytest.approx(run.summary()["val_loss"], rel=1e-5)
    assert run.config()["layout"]["threads"] == again.config()["layout"]["threads"] == 1
    arguments = ("--runs", "more", "--threads", "2")
    assert adana("train", "--config", record, *arguments) == 0
    assert find_runs(tmp_path / "more")[0].config()["layout"]["threads"] == 2
    assert adana("train", "--config", str(run.path)) == 0  # the directory does too
    assert "already trained" in capsys.readouterr().out


def test_a_config_file_takes_no_flag_about_what_is_trained(capsys, tmp_path):
    assert train("--optimizer", "adamw", "--lr", "0.01") == 0
    (run,) = find_runs(tmp_path / "runs")
    assert adana("train", "--config", str(run.path), "--lr", "0.1", "--heads", "2") == 2
    error = capsys.readouterr().err
    assert "--heads, --lr cannot be given beside it" in error or "--lr, --heads" in error
    (tmp_path / "corpus" / "new.txt").write_text("something else entirely\n" * 500)
    assert adana("train", "--config", str(run.path), "--runs", "again") == 0
    assert "using the tokens prepared before" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[1]", "has format version None"),
        ('{"version": 999}', "has format version 999"),
        (f'{{"version": {CONFIG_VERSION}}}', "does not say what it is trained on"),
    ],
)
def test_what_is_no_config_file_is_named(text, message, capsys, tmp_path):
    (tmp_path / "config.json").write_text(text)
    assert adana("train", "--config", "config.json") == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("warmup", "words"),
    [(None, None), (20, None), (5, "fitted at warmup_steps 20, this run has 5")],
)
def test_only_another_warm_up_than_the_laws_is_said_to_be_one(warmup, words):
    settings = Settings(heads=3, steps=1000, warmup_steps=warmup)
    source = configure(settings, "adana", None, open_rules(())).provenance["lr"]
    assert "published Enoki law" in source
    assert words in source if words else "warmup" not in source


def test_a_run_says_which_text_it_was_trained_on_though_another_of_its_bytes_was_prepared(tmp_path):
    shutil.copytree(tmp_path / "corpus", tmp_path / "copied")
    (tmp_path / "copied" / "more.gz").write_bytes(b"no text")
    assert train("--run", "one") == 0
    assert adana("train", "--data", "copied", *TINY, "--run", "two", "--seed", "1") == 0
    one, two = (Run(tmp_path / name).environment()["corpus"] for name in ("one", "two"))
    assert (one["source"], two["source"]) == ("corpus", "copied")
    assert not one["notes"]
    assert "1 file of another kind left out (.gz)" in two["notes"]
