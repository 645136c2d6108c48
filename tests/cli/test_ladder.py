"""`adana ladder plan` as a user meets it, and the budgets of `adana train`."""

import io
import json
import shlex

import pytest
import tyro
from rich.console import Console

from adana.cli import main
from adana.cli.grid import Grid
from adana.cli.ladder.run import RunLadder, make_study
from adana.cli.train import TrainArguments, train_config
from adana.ladder import Cell, first_rates, plan_rung
from adana.runs import find_runs
from tests.train.conftest import write_corpus


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")


def adana(*arguments: str) -> int:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


def plan(*arguments: str, family="enoki") -> int:
    return adana("ladder", "plan", family, *arguments)


def words(text: str) -> str:
    return " ".join(text.split())


def test_a_plan_shows_sizes_rates_compute_memory_and_commands(capsys):
    assert plan("--heads", "12", "6", "--devices", "8") == 0
    out = words(capsys.readouterr().out)
    for text in (
        "6 4 384 7.078 M 26.39 M 45.71 M 45.72 M 914.2 M 13,950 279 1,395",
        "12 9 768 63.70 M 102.3 M 141.0 M 141.0 M 2.819 B 43,020 860 4,302",
        "T = floor(20 N / (32 x 2048))",
        "6 0.00379 0.0756 0.0013",
        "[2] adana: lr = 22.5 (122000 + P)^-0.618, P = 12 d^2 L, without norms; 32 x 2048 tokens",
        "Ran: the published formula (c = 0",
        "12 0.2993 0.2993 0.4809 0.4324 0.6139",
        "Estimate for 8 x NVIDIA H100 SXM",
        "optimizer state 8 n",
        "2 rungs: 3.734 B tokens, 0.3101 PFH (6PD)",
        "torchrun --nproc-per-node 8 -m adana train --optimizer adana --kappa 0.85",
    ):
        assert text in out
    assert " !" not in out
    assert out.index("6 4 384") < out.index("12 9 768"), "rungs are sorted"


def test_qwen3_is_planned_with_the_variant_that_has_a_law(capsys):
    assert plan("--heads", "4", family="qwen3") == 0
    out = words(capsys.readouterr().out)
    assert "4 8 512 29.37 M 55.13 M 80.88 M 80.88 M 25.17 M 1.618 B 24,683 493 2,468.3" in out
    assert "adana-released [2]" in out
    assert "clip off" in out
    assert "--heads 4 --layers 8 --model qwen3 --head-dim 128" in out


def test_beyond_the_swept_sizes_the_plan_warns(capsys):
    assert plan("--heads", "40", "7") == 0
    out = words(capsys.readouterr().out)
    assert "! adana, H = 40: extrapolated from P of 7.1 to 510 M to 2359 M" in out
    assert "! adana, H = 7" not in out
    assert "* not a published size" in out


def test_several_budgets_are_an_axis_of_the_plan(capsys):
    budgets = ("--tokens-per-param", "100", "1", "20")
    assert plan("--heads", "6", *budgets, "--json", "plan.json") == 0
    out = words(capsys.readouterr().out)
    assert "6, 1 4 384" in out
    assert "6, 100 4 384" in out
    law = "fitted at 20 tokens a parameter, this run has"
    assert f"! adana, H, D/N = (6, 1): {law} 1." in out
    assert f"{law} 20" not in out
    with open("plan.json") as file:
        rows = json.load(file)["trainings"]
    assert [row["tokens_per_param"] for row in rows] == [1, 1, 20, 20, 100, 100]
    assert plan("--tokens-per-param", "20", "20") == 2
    assert "--tokens-per-param names one twice" in capsys.readouterr().err


def test_a_batch_without_a_law_is_refused_unless_a_law_or_a_rate_is_named(capsys):
    assert plan("--batch-size", "64") == 2
    error = capsys.readouterr().err
    assert "131,072 tokens a step: its laws are for 32 x 2048 and 512 x 2048" in error
    assert "--extrapolate-lr 32 or --extrapolate-lr 512" in error
    assert plan("--batch-size", "64", "--extrapolate-lr", "512") == 0
    out = words(capsys.readouterr().out)
    assert "EXTRAPOLATED, as asked: the learning rates of adana are those of steps of 512" in out
    assert "fitted at 1048576 tokens a step, this run has 131072" in out
    assert plan("--batch-size", "64", "--lr", "adamw=1e-3", "adana=2e-3") == 0
    out = capsys.readouterr().out
    assert "EXTRAPOLATED" not in out
    assert "[2] adana: given, for every rung." in out


def test_the_batch_of_512_has_laws_of_its_own(capsys):
    assert plan("--batch-size", "512", "--heads", "12", "--json", "plan.json") == 0
    capsys.readouterr()
    with open("plan.json") as file:
        rows = json.load(file)["trainings"]
    assert [row["lr_law"]["batch"] for row in rows] == [512, 512]
    assert [row["lr_reservations"] for row in rows] == [[], []]


def test_optimizers_with_more_state_have_rows_of_their_own(capsys):
    assert plan("--heads", "6", "--optimizers", "adamw", "adana", "dana-star-mk4") == 0
    out = capsys.readouterr().out
    assert "[1, 2]" in out
    assert "[3]" in out


def test_on_a_narrow_terminal_wide_tables_lie_on_their_side():
    table = Grid("title", "H", "a long header", "another header")
    table.add("6", "1,000,000", "2")
    wide, narrow = (Console(width=width, file=io.StringIO()) for width in (60, 30))
    for console in (wide, narrow):
        console.print(table.fitting(console))
    assert "H  a long header  another header" in wide.file.getvalue()
    assert "a long header  1,000,000" in narrow.file.getvalue()


def test_what_does_not_fit_is_said(capsys):
    assert plan("--heads", "40", "--device-type", "rtx4090") == 0
    out = words(capsys.readouterr().out)
    assert " NO 1 x 32 " in out
    assert "--parallel fsdp on more --devices" in out


@pytest.mark.parametrize("ratio", ["1", "5000"])
def test_overtraining_is_an_axis(ratio, capsys):
    assert plan("--heads", "6", "--tokens-per-param", ratio) == 0
    rung = plan_rung("enoki", 6, tokens_per_param=float(ratio))
    offset = f"{rung.decay_offset:,.1f}".removesuffix(".0")
    row = f"{rung.steps:,} {rung.warmup_steps:,} {offset}"
    assert row in words(capsys.readouterr().out)


def test_a_budget_too_short_for_a_warm_up_is_said(capsys):
    assert plan("--heads", "6", "8", "--tokens-per-param", "0.06") == 0
    out = words(capsys.readouterr().out)
    assert "! H = 6: fewer than 50 steps, so without warm-up" in out


def test_this_machine_can_be_planned_for(capsys):
    assert plan("--heads", "2", "--device-type", "this", "--lr", "adamw=1", "adana=1") == 0
    assert "measured here" in words(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("family", "optimizer", "layout"),
    [
        ("enoki", "adana", ("--devices", "8", "--parallel", "fsdp")),
        ("enoki", "adamw", ("--activation-checkpointing", "--micro-batch", "2")),
        ("qwen3", "adana-released", ()),
    ],
)
def test_the_command_that_is_printed_trains_what_was_planned(family, optimizer, layout, capsys):
    arguments = ("--heads", "8", "--optimizers", optimizer, "--json", "plan.json", *layout)
    assert plan(*arguments, family=family) == 0
    assert "json: " in capsys.readouterr().out
    with open("plan.json") as file:
        (row,) = json.load(file)["trainings"]
    command = shlex.split(row["command"])
    config = train_config(
        tyro.cli(
            TrainArguments,
            args=command[command.index("train") + 1 :],
            config=(tyro.conf.OmitArgPrefixes,),
        )
    )
    rung = plan_rung(family, 8)
    assert config.steps == rung.steps == row["steps"]
    assert config.resolve().model == type(rung.model)(heads=8, layers=rung.model.depth)
    assert config.batch_size == 32
    assert config.optimizer.name == optimizer
    assert config.optimizer.lr == pytest.approx(row["lr"], rel=1e-3)
    assert config.precision == "bfloat16"
    assert config.layout.micro_batch == row["estimate"]["micro_batch"]
    assert config.layout.parallel == ("fsdp" if "fsdp" in layout else "ddp")
    assert config.layout.activation_checkpointing == ("--activation-checkpointing" in layout)
    assert config.provenance["steps"] == "floor(20 N / (32 x 2048))"


@pytest.mark.parametrize("family", ["enoki", "qwen3"])
def test_the_command_of_a_whole_ladder_trains_the_rungs_of_the_plan(family, capsys):
    ratios = ("--tokens-per-param", "20", "5")
    assert plan("--heads", "8", "6", *ratios, "--lr", "adamw=2e-3", family=family) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " ladder run " in line]
    assert len(lines) == 2
    for line, ratio in zip(lines, (5, 20), strict=True):
        flags = shlex.split(line)[3:]
        given = tyro.cli(RunLadder, args=flags, config=(tyro.conf.OmitArgPrefixes,))
        study = make_study(given)
        for heads in (6, 8):
            rung = plan_rung(family, heads, tokens_per_param=ratio)
            assert study.model(heads) == rung.model
            assert study.steps(heads) == rung.steps
        assert (study.precision, study.data.tokenizer) == ("bfloat16", "gpt2")
        assert given.lr == ("adamw=2e-3",)
        assert given.micro_batch == (32 if family == "enoki" else 16)
        rate = first_rates(study, Cell(study.optimizers[1], 8))[2]
        assert "published" in rate.source


@pytest.mark.parametrize(
    "flags",
    [
        ("--devices", "8"),
        ("--kappa", "0.8"),
        ("--activation-checkpointing",),
        ("--batch-size", "64", "--extrapolate-lr", "32"),
        ("--heads", "40", "--micro-batch", "32"),
    ],
)
def test_what_no_ladder_of_single_devices_can_train_has_no_command_for_one(flags, capsys):
    assert plan(*flags) == 0
    assert "adana ladder run" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lstm",), "no ladder of 'lstm' is published"),
        (("enoki", "--heads", "0"), "heads must be an integer of at least 1, got 0"),
        (("enoki", "--heads", "6", "6"), "--heads names one twice in 6 6"),
        (("enoki", "--optimizers", "adan"), "unknown optimizer 'adan'"),
        (("enoki", "--optimizers", "log-muon"), "no rule gives a learning rate for log-muon"),
        (("enoki", "--kappa", "0.7"), "Pass one (--lr NAME=VALUE). Published for enoki"),
        (("enoki", "--kappa", "2"), "--kappa must be a finite number in [0, 1]"),
        (("qwen3", "--optimizers", "adana"), "belongs to adana-released"),
        (("enoki", "--tokens-per-param", "0"), "must be a finite number in (0, 1e+06], got 0"),
        (("enoki", "--device-type", "abacus"), "unknown device 'abacus'"),
        (("enoki", "--devices", "3"), "cannot be shared out evenly among 3 devices"),
        (("enoki", "--devices", "0"), "devices must be an integer of at least 1"),
        (("enoki", "--mfu", "2"), "mfu must be a finite number in (0, 1]"),
        (("enoki", "--lr", "adana=fast"), "not NAME=VALUE"),
        (("enoki", "--json", "nowhere/plan.json"), "cannot write nowhere/plan.json"),
    ],
)
def test_wrong_input_gets_one_clear_line_and_no_traceback(arguments, message, capsys):
    assert adana("ladder", "plan", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_help_teaches_the_ladder(capsys):
    assert adana("ladder", "--help") == 0
    out = words(capsys.readouterr().out)
    assert "Trains nothing" in out
    assert "adana ladder plan enoki --heads 6 8 12" in out


# --- budgets of a training ------------------------------------------------------------------------

TINY = [
    *("--heads", "1", "--head-dim", "8", "--layers", "1", "--sequence-length", "16"),
    *("--batch-size", "4", "--vocab-size", "300", "--eval-tokens", "256", "--data", "corpus"),
    *("--device", "cpu", "--threads", "1"),
]
N = 12 * 8**2 + 2 * 300 * 8


def test_a_training_can_be_given_tokens_per_parameter(capsys, tmp_path):
    write_corpus(tmp_path / "corpus")
    assert adana("train", *TINY, "--lr", "0.01", "--tokens-per-param", "0.2") == 0
    steps = int(0.2 * N // (4 * 16))
    assert f"{steps} = floor(0.2 N / (4 x 16))" in capsys.readouterr().out
    (run,) = find_runs(tmp_path / "runs")
    assert run.config()["steps"] == steps
    assert run.config()["provenance"]["steps"] == "floor(0.2 N / (4 x 16))"
    assert adana("train", *TINY, "--lr", "0.01", "--steps", str(steps)) == 0
    assert "already trained" in capsys.readouterr().out


def test_a_comparison_can_be_given_tokens_per_parameter(capsys, tmp_path):
    write_corpus(tmp_path / "corpus")
    options = ("--lr", "adamw=0.01", "adana=0.01", "--seeds", "1", "--horizons", "1", "1.5")
    assert adana("compare", "adamw", "adana", *TINY, *options, "--tokens-per-param", "0.15") == 0
    steps = int(0.15 * N // (4 * 16))
    assert f"{steps} = floor(0.15 N / (4 x 16))" in capsys.readouterr().out
    provenances = {
        run.config()["steps"]: run.config()["provenance"] for run in find_runs(tmp_path / "runs")
    }
    assert "steps" in provenances[steps]
    assert "steps" not in provenances[round(1.5 * steps)], "no rule gave these"


def test_steps_and_tokens_per_parameter_exclude_each_other(capsys):
    assert adana("train", *TINY, "--steps", "5", "--tokens-per-param", "1") == 2
    assert "utually exclusive" in "".join(capsys.readouterr())


@pytest.mark.parametrize("ratio", ["0", "-1", "1000001"])
def test_a_budget_out_of_range_is_refused(ratio, capsys):
    assert adana("train", *TINY, "--lr", "1", "--tokens-per-param", ratio) == 2
    assert "must be a finite number in (0, 1e+06]" in capsys.readouterr().err
