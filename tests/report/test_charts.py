"""The charts: which there are, what they draw, and how they are saved."""

from collections.abc import Callable
from pathlib import Path

import pytest

from adana.report import Comparison, all_charts, compare, multiplier_chart, save_static
from adana.report.charts import validation_chart
from adana.report.drawing import MAX_POINTS, legend, thin
from adana.runs import Run, find_runs


def test_full_runs_fill_every_chart(comparison: Comparison) -> None:
    schedules = [f"schedule-{key}" for key in ("lr", "ema_m", "ema_v", "momentum", "decay")]
    assert list(all_charts(comparison)) == ["validation", "multiplier", "training", *schedules]


def test_a_label_has_one_colour_over_all_charts(comparison: Comparison) -> None:
    scales = set()
    for chart in all_charts(comparison).values():
        for layer in chart.to_dict()["layer"]:
            scale = layer["encoding"]["color"]["scale"]
            scales.add((*scale["domain"], *scale["range"]))
    assert len(scales) == 1


def test_one_horizon_has_no_multiplier_chart(tmp_path: Path, write_run: Callable[..., Run]) -> None:
    write_run(tmp_path, "adamw", 0)
    write_run(tmp_path, "adana", 0)
    assert multiplier_chart(compare(find_runs(tmp_path), "adamw")) is None


def test_runs_without_metrics_have_no_charts(tmp_path: Path, write_run: Callable[..., Run]) -> None:
    run = write_run(tmp_path, "adamw", 0)
    (run.path / "metrics.jsonl").unlink()
    assert all_charts(compare([run], "adamw")) == {}


def test_thinning_keeps_the_ends_and_the_limit() -> None:
    assert thin(5) == [0, 1, 2, 3, 4]
    kept = thin(100_000)
    assert len(kept) <= MAX_POINTS
    assert (kept[0], kept[-1]) == (0, 99_999)
    assert kept == sorted(set(kept))


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<svg"), (".pdf", b"%PDF")]
)
def test_a_chart_is_saved_by_its_suffix(
    comparison: Comparison, tmp_path: Path, suffix: str, start: bytes
) -> None:
    chart = validation_chart(comparison)
    assert chart is not None
    save_static(chart, tmp_path / f"loss{suffix}")
    assert (tmp_path / f"loss{suffix}").read_bytes().startswith(start)


def test_an_unknown_suffix_is_refused(comparison: Comparison, tmp_path: Path) -> None:
    chart = validation_chart(comparison)
    assert chart is not None
    with pytest.raises(ValueError, match=r"\.svg, \.pdf or \.png"):
        save_static(chart, tmp_path / "loss.gif")


@pytest.mark.parametrize(
    ("longest", "columns"),
    [("dana-star-mk4", 3), ("log-muon-adamw", 2), ("muon-log-decay-adana", 1)],
)
def test_long_names_have_room_in_legends(longest, columns):
    own = legend(["adamw", longest], lines=True)
    assert own["columns"] == columns
    assert own["labelLimit"] >= 8 * len(longest)  # pixels of a letter, on average
