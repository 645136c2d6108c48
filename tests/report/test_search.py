"""The page of a search: what it reads back, what it says, and what a browser makes of it."""

import dataclasses
import itertools
import json
import math
import re

import pytest

from adana.cli import main
from adana.report import render_search, write_search
from adana.report.search_charts import CEILING, sweep_charts
from adana.report.search_numbers import decimals_of, plain, progress
from adana.report.search_page import compared, labelled, search_charts
from adana.runs import RunError, read_json, write_json
from adana.searches import read_search
from adana.tune import (
    Choice,
    FunctionObjective,
    Integer,
    Log,
    Problem,
    Rules,
    Scale,
    tune,
    tune_scales,
)
from tests.tune.landscapes import Inline, octaves

from .browser import dom, drawing, needs_browser


def loss(config):
    """A bowl whose best lr falls with size, steep in lr, a little noisy, with a cliff."""
    if config["lr"] > 0.05:
        return math.nan
    return (
        3
        + 0.03 * octaves(config, "lr", 0.016 / config["size"]) ** 2
        + 0.001 * octaves(config, "warm", 64) ** 2
        + (0.0 if config["schedule"] == "cosine" else 0.1)
        + 0.001 * config["seed"]
    )


def searched(folder, *sizes, optimizer="adana"):
    """Search at the sizes, and leave the result in a folder as `adana tune` does."""
    space = (
        Log("lr", (0.008, 0.016, 0.064), 0.008),
        Integer("warm", (16, 32), 16, low=1, ratio=2),
        Choice("schedule", ("cosine", "<b>wsd</b>"), "cosine"),
    )
    problems = [
        Problem(
            FunctionObjective(loss), space, Scale(f"{n} heads", n * 1e5, 1e6), fixed={"size": n}
        )
        for n in sizes
    ]
    rules = Rules(seeds=2, noise_seeds=4, joint=(("lr", "warm"),))
    study = tune_scales(problems, rules, runner=Inline())
    commands = {f"{n} heads": f"adana train --optimizer {optimizer}" for n in sizes}
    content = {"command": "adana tune", "optimizer": optimizer, "commands": commands}
    folder.mkdir()
    write_json(folder / "result.json", content | study.to_dict())
    return study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("searches")
    searched(folder / "one", 1)
    searched(folder / "two", 1, 2)
    searched(folder / "other", 1, 4, optimizer="adamw")
    return folder


def rows_of(chart, field):
    """Return the rows that hold a field, of all data of a chart."""
    datasets = chart.to_dict()["datasets"].values()
    return [row for rows in datasets for row in rows if field in row]


def test_a_result_is_read_as_it_was_found(tmp_path):
    study = searched(tmp_path / "search", 1, 2)
    search = read_search(tmp_path / "search")
    assert search.name == "adana"
    for own, found in zip(search.scales, study.scales, strict=True):
        assert (own.best, own.loss, own.seeds) == (found.best, found.loss, 2)
        assert own.delta2 == found.floor.delta2
        assert {s.name: (s.values, s.losses) for s in own.sweeps} == {
            name: (sweep.values, sweep.losses) for name, sweep in found.sweeps.items()
        }
        assert own.remarks == tuple(found.remarks)
        assert len(own.trials) == found.budget.runs
        moved = [sweep.after != sweep.before for moves in own.passes for sweep in moves]
        assert moved == [move.moved for moves in found.descent.passes for move in moves]


def test_the_page_says_what_was_found_what_it_cost_and_what_weakens_it(folder):
    search = read_search(folder / "two")
    text = render_search([search])
    for scale in search.scales:
        settings = f"lr {scale.best['lr']:g}, warm {scale.best['warm']}, schedule cosine"
        loss = f"{scale.loss:.{decimals_of(scale)}f}"
        assert f"{scale.size}: loss {loss} (mean of 2 seeds) at {settings}" in text
        assert f"found in {len(scale.trials)} trainings" in text
        assert all(remark in text for remark in scale.remarks)
    assert "; 2 diverged." in text
    assert "of which it has trained none" in text
    assert "adana train --optimizer adana" in text
    assert "<b>wsd</b>" not in text  # a name is a name, and no markup
    assert "&lt;b&gt;wsd&lt;/b&gt;: 3.1" in text
    assert "sensitive" in text
    assert "Which of them need a rule" not in render_search([read_search(folder / "one")])


def test_what_lies_far_above_the_best_stands_at_the_top_and_says_its_loss(folder):
    (scale,) = read_search(folder / "one").scales
    chart = sweep_charts(read_search(folder / "one"))["lr"]
    rows = {row["value"]: row for row in rows_of(chart, "value")}
    sweep = next(own for own in scale.sweeps if own.name == "lr")
    for value, result in zip(sweep.values, sweep.losses, strict=True):
        above = result - min(sweep.losses)
        row = rows[str(value)]
        assert row["kind"] == (
            "best"
            if value == scale.best["lr"]
            else "off"
            if above > CEILING * scale.delta2
            else "tried"
        )
        assert row["above"] <= CEILING * scale.delta2 * 1.001
        assert row["loss"] == (
            f"{result:.{decimals_of(scale)}f}" if math.isfinite(result) else "diverged"
        )
    assert rows["0.064"]["loss"] == "diverged"
    y = chart.to_dict()["layer"][0]["encoding"]["y"]
    assert y["scale"]["domain"][0] < 0  # room for the mark of the best, and no label there
    assert y["axis"]["labelExpr"].startswith("datum.value < 0 ? ''")
    assert [*rows] == [str(value) for value in sorted(sweep.values)]


def test_the_best_so_far_is_that_of_configurations_with_all_their_seeds(folder):
    (scale,) = read_search(folder / "one").scales
    steps = list(progress(scale))
    assert [count for count, _, _ in steps] == list(range(2, len(scale.trials) + 1))
    bests = [best for _, _, best in steps]
    assert bests == sorted(bests, reverse=True)
    first = [t["loss"] for t in scale.trials if t["config"]["lr"] == 0.008][:2]
    assert bests[0] == pytest.approx(sum(first) / 2)
    assert bests[-1] == pytest.approx(scale.loss)


def test_several_searches_share_a_page_and_what_both_sizes_have(folder):
    searches = [read_search(folder / name) for name in ("two", "other", "one")]
    names = ["adana (1)", "adamw", "adana (2)"]
    assert labelled(searches) == names
    (lines,) = compared(searches)
    assert [(label, scale.size) for label, scale in lines] == [(n, "1 heads") for n in names]
    charts = search_charts(searches)
    rows = rows_of(charts["compared-0"].chart, "trainings")
    assert {row["search"] for row in rows} == {"adana (1)", "adamw", "adana (2)"}
    assert "compared-1" not in charts
    text = render_search(searches)
    assert "Tuning adana (1), adamw and adana (2)" in text
    with pytest.raises(ValueError, match="expected at least one search"):
        render_search([])


def test_searches_on_other_data_or_of_other_sizes_are_on_no_chart_together(folder, tmp_path):
    one, other = read_search(folder / "one"), read_search(folder / "other")
    assert compared([one]) == []
    elsewhere = dataclasses.replace(other, setting="other data")
    assert compared([one, elsewhere]) == []
    assert "these searches were on other data" in render_search([one, elsewhere])
    smaller = dataclasses.replace(one.scales[0], tokens=7.0)
    assert "no model and number of tokens" in render_search(
        [dataclasses.replace(one, scales=(smaller,)), other]
    )
    more = dataclasses.replace(one.scales[0], seeds=1)
    text = render_search([dataclasses.replace(one, scales=(more,)), other])
    assert "different numbers of seeds: adana 1, adamw 2" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content.update(version=1), "has format version 1, .* run the same search"),
        (lambda content: content.pop("version"), "has format version None"),
        (lambda content: content["scales"][0].pop("passes"), "is no result of a search.*'passes'"),
        (lambda content: content["scales"].append(7), "is no result of a search"),
    ],
)
def test_a_result_that_cannot_be_read_is_named(folder, tmp_path, change, message):
    content = read_json(folder / "one" / "result.json")
    change(content)
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=message):
        read_search(tmp_path)


def test_a_search_that_has_not_ended_says_how_to_go_on(folder, tmp_path, capsys):
    write_json(tmp_path / "began_with.json", [])
    assert report(folder / "one", tmp_path, "--output", tmp_path / "report") == 1
    shown = " ".join(capsys.readouterr().err.split())
    assert "has not ended; the same `adana tune` command goes on with it" in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(16, "16"), (16.0, "16"), (2e-3, "0.002"), (1 / 3, "0.3333333333333333"), (True, "True"),
     (None, "None"), ("a", "a")],
)  # fmt: skip
def test_equal_numbers_are_one_text(value, text):
    assert plain(value) == text


def alone(function, folder, **rules):
    """Search from Python, without noise between seeds."""
    space = (Log("lr", (1.0, 2.0, 4.0), 2.0), Log("decay", (1.0, 2.0), 1.0, low=1.0, high=2.0))
    tune(function, space, folder=folder, runner=Inline(), rules=Rules(**rules))
    return read_search(folder)


def small(config):
    return 1e-6 * (1 + octaves(config, "lr", 2) ** 2 + octaves(config, "decay", 2) ** 2)


def test_small_losses_have_the_digits_that_count(tmp_path):
    search = alone(small, tmp_path / "small", delta1=1e-7)
    assert "loss 0.00000100 (one seed) at lr 2, decay 2" in render_search([search])


def test_without_noise_every_loss_is_on_the_chart(tmp_path):
    search = alone(small, tmp_path / "quiet", delta1=0.0, delta2=0.0)
    for chart in sweep_charts(search).values():
        rows = rows_of(chart, "kind")
        assert {row["kind"] for row in rows} == {"best", "tried"}
        assert len({row["above"] for row in rows}) > 1


def test_a_seed_that_all_trials_share_leaves_the_curve(tmp_path):
    tune(
        lambda config: small(config) + config["seed"],
        (Log("lr", (1.0, 2.0, 4.0), 2.0),),
        fixed={"seed": 7, "decay": 1},
        folder=tmp_path,
        runner=Inline(),
    )
    (scale,) = read_search(tmp_path).scales
    assert len(list(progress(scale))) == len(scale.trials)


def report(*arguments):
    with pytest.raises(SystemExit) as end:
        main(["report", *map(str, arguments)])
    return end.value.code


def test_the_command_writes_the_page_and_its_charts(folder, tmp_path, capsys):
    out = tmp_path / "report"
    both = folder / "two", folder / "other"
    assert report(*both, "--output", out, "--images", "svg", "png") == 0
    assert "search.html" in capsys.readouterr().out
    assert "Tuning adana and adamw" in (out / "search.html").read_text()
    for name in ("compared-0", "search-0-sweep-0-lr", "search-1-joint-0", "search-1-progress-1"):
        assert (out / f"{name}.svg").read_text().startswith("<svg")
        assert (out / f"{name}.png").stat().st_size > 1000


def test_searches_and_runs_are_not_mixed(folder, tmp_path, capsys):
    assert report(folder / "one", tmp_path, "--output", tmp_path / "report") == 2
    shown = "".join(capsys.readouterr().err.split())
    assert f"{folder / 'one'}isasearchand{tmp_path}isnot" in shown
    assert not (tmp_path / "report").exists()


@needs_browser
@pytest.mark.parametrize("names", [("one",), ("two", "other")])
def test_every_chart_is_drawn_without_an_error(folder, tmp_path, names):
    searches = [read_search(folder / name) for name in names]
    page = tmp_path / "search.html"
    write_search(searches, page)
    body = dom(tmp_path, page)
    for name in search_charts(searches):
        drawn = drawing(body, name)
        assert re.search(r'<svg[^>]* class="marks"', drawn), f"the chart {name} was not drawn"
        assert drawn.count("<path") > 3
    assert 'class="missing' not in body


ODD = ("a.b", "p:lr", "a[0]", "q\"uo'te", "opt/lr", "loss", "above", "weight", "<b>n</b>")


@needs_browser
def test_names_of_any_kind_are_drawn(tmp_path):
    space = [Log(name, (1.0, 2.0, 4.0), 2.0) for name in ODD]
    tune(
        lambda config: sum(octaves({"x": config[name]}, "x", 2) ** 2 for name in ODD),
        space,
        folder=tmp_path,
        runner=Inline(),
        rules=Rules(joint=tuple(itertools.pairwise(ODD))),
    )
    search, page = read_search(tmp_path), tmp_path / "page" / "search.html"
    page.parent.mkdir()
    write_search([search], page, ("svg",))
    assert len(list(page.parent.glob("*.svg"))) == len(ODD) + len(ODD) - 1 + 1
    body = dom(tmp_path, page)
    for name in search_charts([search]):
        drawn = drawing(body, name)
        assert "undefined" not in drawn
        if "-joint-" in name:
            assert all(f">{value}</text>" in drawn for value in (1, 2, 4)), name
    assert 'class="missing' not in body


def test_a_search_that_ends_worse_than_guessing_says_so(folder):
    search = read_search(folder / "one")
    at = search.scales[0]
    for vocab_size, said in ((2, True), (512, False)):
        config = {"model": {"vocab_size": vocab_size}}
        scales = (dataclasses.replace(at, config=config), *search.scales[1:])
        page = render_search([dataclasses.replace(search, scales=scales)])
        assert ("worse than guessing, above ln V = 0.693" in page) == said
