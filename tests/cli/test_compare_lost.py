"""A comparison in which optimizers diverge or fail: the others are compared all the same."""

import json
import re

import pytest

from adana.cli import main
from adana.runs import find_runs
from tests.cli.test_own_optimizer import TINY
from tests.train.conftest import write_corpus
from tests.train.test_installed import SIGN

BROKEN = """
from adana.train import OptimizerEntry, coupled_decay
import torch
import adana
import signs

class Raises(signs.Sign):
    def step(self, closure=None):
        raise RuntimeError("boom at once")

class Spoils(signs.Sign):
    def step(self, closure=None):
        with torch.no_grad():
            for p in self.param_groups[0]["params"]:
                p.fill_(float("inf"))

class Worse(signs.Sign):
    @torch.no_grad()
    def step(self, closure=None):
        for p in self.param_groups[0]["params"]:
            p.add_(p.grad.sign(), alpha=0.1)

def entry(kind):
    def build(model, config, steps):
        if kind is None:
            raise RuntimeError("never built")
        groups = adana.param_groups(model)
        return kind(groups, config.lr, config.beta1, coupled_decay(config, steps))
    return OptimizerEntry(build, reads=("beta1",), defaults={"beta1": 0.9})

raises, spoils, unbuilt, worse = map(entry, (Raises, Spoils, None, Worse))
"""


OWN = ("raises", "spoils", "unbuilt", "worse", "sign")


@pytest.fixture(autouse=True)
def _here(packages, tmp_path, monkeypatch):
    points = {name: f"broken:{name}" for name in ("raises", "spoils", "unbuilt", "worse")}
    packages.install("signs", {"signs.py": SIGN}, {"sign": "signs:sign"})
    packages.install("broken", {"broken.py": BROKEN}, points)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "140")
    write_corpus(tmp_path / "corpus")


def compare(*words):
    rates = [f"{name}=1e-3" for name in words if name in OWN]
    given = ("--lr", "adamw=8e-3", *rates, "--seeds", "1", "--jobs", "2", "--output", "report")
    with pytest.raises(SystemExit) as ended:
        main(["compare", *words, *TINY, *given])
    return ended.value.code


def comparison(tmp_path):
    return json.loads((tmp_path / "report" / "comparison.json").read_text())


def test_those_without_a_result_are_left_out_by_name_and_the_rest_goes_on(tmp_path, capsys):
    words = ("adamw", "raises", "spoils", "unbuilt", "sign", "--sweep-lr", "2")
    assert compare(*words) == 1
    out, err = capsys.readouterr()
    assert "6 runs failed" not in err
    assert "4 runs failed (raises 0.001" in err
    found = comparison(tmp_path)
    ended = {row["label"]: row["ended"] for row in found["rows"]}
    assert ended == {
        **{"adamw": "", "sign": "", "raises": "failed", "unbuilt": "failed"},
        "spoils": "diverged at every rate",
    }
    assert "boom at once" in found["left_out"]["raises"]["reason"]
    assert "never built" in found["left_out"]["unbuilt"]["reason"]
    assert "(0.001, 0.002)" in found["left_out"]["spoils"]["reason"]
    assert {trial["state"] for trial in found["sweep"]} == {"", "failed", "diverged"}
    for text in (out, (tmp_path / "report" / "report.html").read_text()):
        said = " ".join(text.split())
        assert "spoils has no result: diverged at every rate." in said
        assert "boom at once" in said
    assert "raises has no result: failed." in " ".join(
        (tmp_path / "report" / "comparison.md").read_text().split()
    )


def test_one_that_fails_at_its_own_rate_stays_in_the_table(tmp_path, capsys):
    assert compare("adamw", "raises", "unbuilt") == 1
    assert "2 runs failed" in capsys.readouterr().err
    found = comparison(tmp_path)
    raises = next(row for row in found["rows"] if row["label"] == "raises")
    assert raises["loss"] is None
    assert len(raises["failures"]) == 1
    assert "never built" in found["left_out"]["unbuilt"]["reason"]


@pytest.mark.parametrize(
    ("name", "why"), [("spoils", "diverged at every rate"), ("raises", "boom")]
)
def test_without_a_baseline_it_stops_and_says_why(tmp_path, capsys, name, why):
    assert compare(name, "adamw", "--sweep-lr", "2") == 1
    err = " ".join(capsys.readouterr().err.split())
    assert f"the baseline {name} " in err
    assert why in err
    assert "nothing to compare with" in err
    assert len(find_runs(tmp_path / "runs")) == 4
    assert not (tmp_path / "report").exists()


def test_a_search_of_one_that_fails_names_it_and_is_not_ended_by_the_estimate(capsys):
    words = ("tune", "raises", *TINY, "--lr", "1e-3", "--parameters", "lr")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--plan"])
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert "the steps of raises cannot be timed, adamw's are in their place" in out
    assert "optimizer 'raises' of broken" in out
    assert re.search(r"broken\.py:\d+ with RuntimeError: boom at once", out)


def test_the_plan_of_a_ladder_with_one_that_fails(capsys):
    sizes = ("--heads", "1", "2", "--sequence-length", "32", "--batch-size", "4")
    words = ("--data", "corpus", *sizes, "--optimizers", "adamw", "raises", "--lr", "raises=1e-3")
    with pytest.raises(SystemExit) as ended:
        main(["ladder", "run", "--preset", "smoke", *words, "--plan"])
    out = " ".join(capsys.readouterr().out.split())
    assert ended.value.code == 0
    assert out.count("the steps of raises cannot be timed") == 1
    assert "boom at once" in out


def test_a_ladder_goes_on_without_those_that_fail_and_reports_the_rest(tmp_path, capsys):
    sizes = ("--data", "corpus", "--vocab-size", "300", "--heads", "1", "2", "--jobs", "2")
    grid = ("--rates", "2", "--seeds", "1", "--tokens-per-param", "0.5", "--device", "cpu")
    own = ("--optimizers", "adamw", "raises", "unbuilt", "--lr", "raises=1e-3", "unbuilt=1e-3")
    with pytest.raises(SystemExit) as ended:
        main(["ladder", "run", "--preset", "smoke", *sizes, *grid, *own, "--output", "report"])
    assert ended.value.code == 1
    out, err = (" ".join(text.split()) for text in capsys.readouterr())
    assert "8 runs failed" in err
    assert "raises: 4 of 4 runs failed for another reason than the loss" in out
    assert "Left out, it cannot be read" in out
    assert (tmp_path / "report" / "report.html").exists()


def test_a_sweep_and_a_search_worse_than_guessing_say_so(capsys):
    assert compare("adamw", "worse", "--sweep-lr", "2") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert re.search(
        r"worse: the best loss, [\d.]+, is worse than guessing, above ln V = 5\.7", out
    )
    assert "adamw: the best loss" not in out
    assert "worse: 1 of 1 finished runs end worse than guessing" in out
    words = ("--lr", "1e-3", "--parameters", "lr", "--noise-seeds", "0", "--max-passes", "1")
    with pytest.raises(SystemExit) as ended:
        main(["tune", "worse", *TINY, *words, "--jobs", "2"])
    assert ended.value.code == 0
    assert "is worse than guessing" in " ".join(capsys.readouterr().out.split())
