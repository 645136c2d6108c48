"""Charts stay readable beside an optimizer that learned nothing."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adana.report import Comparison, Trial, all_charts, compare, read_study, render, study_charts
from adana.report.off_scale import CROSSES, MARGIN
from adana.runs import Run, find_runs

MODEL = {"width": 64, "depth": 4, "sequence_length": 128, "vocab_size": 1024}
TOP = MARGIN * math.log(1024)


def specs(chart: Any) -> Iterator[dict[str, Any]]:
    """The layers of a chart, each with its own rows."""
    spec = chart.to_dict()
    for layer in spec["layer"]:
        data = layer.get("data", spec.get("data", {}))
        yield layer | {"rows": data.get("values") or spec["datasets"][data["name"]]}


def crosses(chart: Any) -> list[dict[str, Any]]:
    """The rows that stand at the top of a chart."""
    return [
        row
        for layer in specs(chart)
        if layer["mark"].get("shape") == "cross"
        for row in layer["rows"]
    ]


def domains(chart: Any) -> list[list[float]]:
    found = (layer["encoding"]["y"].get("scale", {}).get("domain") for layer in specs(chart))
    return [domain for domain in found if domain]


@pytest.fixture
def with_a_bad_one(tmp_path: Path, write_run: Callable[..., Run]) -> Comparison:
    for steps in (1000, 2000):
        write_run(tmp_path, "adamw", 0, steps=steps, model=MODEL)
    write_run(tmp_path, "adana", 0, gain=0.1, model=MODEL)
    write_run(tmp_path, "worse", 0, gain=-25, model=MODEL)
    sweep = [Trial(*row) for row in (("adamw", 0.002, 3.4, True), ("worse", 0.004, 28.0, True))]
    return compare(find_runs(tmp_path), "adamw", sweep)


@pytest.mark.parametrize("name", ["validation", "training", "multiplier", "sweep"])
def test_the_axis_of_a_comparison_ends_near_guessing(with_a_bad_one: Comparison, name: str) -> None:
    chart = all_charts(with_a_bad_one)[name]
    assert domains(chart)
    for low, high in domains(chart):
        assert 2 < low < 4
        assert high == pytest.approx(TOP, rel=1e-4)
    (cross,) = crosses(chart)
    assert cross["optimizer"] == "worse"
    assert cross["loss"] > 20
    assert cross["top"] == pytest.approx(TOP, rel=1e-4)
    for layer in specs(chart):
        if layer["mark"]["type"] == "line":
            assert layer["mark"]["clip"]
        elif layer["mark"].get("shape") != "cross" and layer["mark"]["type"] == "point":
            assert all(row["loss"] <= TOP for row in layer["rows"])


def test_the_captions_say_what_a_cross_is(with_a_bad_one: Comparison) -> None:
    assert render(with_a_bad_one).count(CROSSES) >= 4


def test_without_a_bad_one_the_axis_is_that_of_the_curves(comparison: Comparison) -> None:
    for name in ("validation", "training", "multiplier"):
        chart = all_charts(comparison)[name]
        assert not domains(chart)
        assert not crosses(chart)


def test_where_all_are_bad_all_are_shown(tmp_path: Path, write_run: Callable[..., Run]) -> None:
    write_run(tmp_path, "worse", 0, gain=-25, model=MODEL)
    chart = all_charts(compare(find_runs(tmp_path), "worse"))["validation"]
    assert not domains(chart)
    assert not crosses(chart)


def test_a_multiplier_below_a_tenth_is_a_cross_at_the_bottom(
    tmp_path: Path, write_run: Callable[..., Run]
) -> None:
    at = {"lr": 0.002}
    for width, steps in ((64, 100), (128, 1000), (192, 10000)):
        loss = 2.0 + 2.0 * ((width // 64) ** 2 * steps / 100) ** -0.3
        write_run(tmp_path, "adamw", 0, final=loss, width=width, steps=steps, **at)
        write_run(tmp_path, "adana", 0, final=loss - 0.01, width=width, steps=steps, **at)
        write_run(tmp_path, "slow", 0, final=3.5, width=width, steps=steps, **at)
    chart = study_charts(read_study(find_runs(tmp_path), "adamw"))["multiplier"]
    found = crosses(chart)
    assert found
    assert {row["optimizer"] for row in found} == {"slow"}
    assert all(row["M"] < 0.1 and row["bottom"] == 0.1 for row in found)
    assert {low for low, _ in domains(chart)} == {0.1}


def test_the_charts_of_a_study_likewise(tmp_path: Path, write_run: Callable[..., Run]) -> None:
    for width, loss in ((64, 3.5), (128, 3.2)):
        for lr, more in ((0.002, 0.0), (0.004, 0.1)):
            at = {"width": width, "lr": lr, "model": MODEL | {"width": width}}
            write_run(tmp_path, "adamw", 0, final=loss + more, **at)
            write_run(tmp_path, "worse", 0, final=28.0 + more, **at)
            write_run(tmp_path, "adana", 0, final=loss - 0.1 + more * 250, **at)
    charts = study_charts(read_study(find_runs(tmp_path), "adamw"))
    for name, labels in (
        ("loss", ["worse"] * 2),
        ("curves", ["worse"] * 2),
        ("bowl-0", ["adana", "worse", "worse"]),
    ):
        assert domains(charts[name])
        assert all(high == pytest.approx(TOP, rel=1e-4) for _, high in domains(charts[name]))
        assert sorted(row["optimizer"] for row in crosses(charts[name])) == labels
