"""The comparison as text: what fits where, and how numbers are written."""

import dataclasses
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from adana.laws import Multiplier
from adana.report import (
    Comparison,
    Estimate,
    LeftOut,
    as_dict,
    compare,
    markdown,
    terminal,
    words,
)
from adana.report.tables import Column, notes, rich_table
from adana.runs import Run, find_runs


def printed(comparison: Comparison, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(terminal(comparison))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_the_terminal_tables_fit_80_columns_with_every_number_whole(comparison: Comparison) -> None:
    text = printed(comparison)
    assert max(len(line) for line in text.splitlines()) <= 80
    for row in comparison.rows:
        assert words.estimate(row.loss) in text
        assert words.multiplier(row.multiplier) in text
    assert "diverged at step 400" in " ".join(text.split())


def test_a_long_label_wraps_and_leaves_the_numbers_whole(
    tmp_path: Path, write_run: Callable[..., Run]
) -> None:
    for seed in (0, 1):
        for steps in (1000, 2000, 4000):
            write_run(tmp_path, "adamw", seed, steps=steps)
        write_run(tmp_path, "adana-with-a-rather-long-label", seed, gain=0.1)
    comparison = compare(find_runs(tmp_path), "adamw")
    text = printed(comparison)
    assert max(len(line) for line in text.splitlines()) <= 80
    assert words.multiplier(comparison.rows[1].multiplier) in text


def test_brackets_in_a_label_are_not_markup(tmp_path: Path, write_run: Callable[..., Run]) -> None:
    write_run(tmp_path, "[red]hot[/red]", 0)
    assert "[red]hot[/red]" in printed(compare(find_runs(tmp_path), "[red]hot[/red]"))


def test_markdown_has_both_tables_and_escapes_labels(
    tmp_path: Path, write_run: Callable[..., Run]
) -> None:
    write_run(tmp_path, "a|b<i>", 0)
    text = markdown(compare(find_runs(tmp_path), "a|b<i>"))
    assert "| optimizer | lr |" in text
    assert "| optimizer | ppl |" in text
    assert r"a\|b&lt;i&gt;" in text
    assert "<i>" not in text


def test_the_dictionary_survives_strict_json(comparison: Comparison) -> None:
    content = json.loads(json.dumps(as_dict(comparison), allow_nan=False))
    rows = {row["label"]: row for row in content["rows"]}
    assert rows["adana"]["difference"]["count"] == 3
    assert rows["adana"]["multiplier"]["value"] > 1
    assert rows["adana-hot"]["failures"] == ["adana-hot-2000-s1"]
    assert len(content["runs"]) == len(comparison.records)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Estimate(3.2349, 0.0081, 2), "3.235 ± 0.008"),
        (Estimate(3.23491, 0.00021, 2), "3.2349 ± 0.0002"),
        (Estimate(3.2349, None, 1), "3.235"),
        (None, "-"),
    ],
)
def test_estimates_have_sensible_digits(value: Estimate | None, text: str) -> None:
    assert words.estimate(value) == text


def test_signs_sizes_and_counts() -> None:
    assert words.signed(-0.0312) == "\N{MINUS SIGN}0.031"
    assert words.signed(0.0312) == "+0.031"
    assert words.signed(-0.0001) == "0.000"
    assert words.size(1_840_000) == "1.84 MB"
    assert words.size(999_999) == "1 MB"
    assert words.size(5e14) == "500 TB"
    assert words.grouped(66000.4) == "66,000"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Multiplier(1.34, 1.21, 1.47), "1.34 (1.21 to 1.47)"),
        (Multiplier(1.34, 1.21, None), "1.34 (> 1.21)"),
        (Multiplier(1.34, None, 1.47), "1.34 (< 1.47)"),
        (Multiplier(1.34), "1.34"),
        (Multiplier(None, above=1.5), "> 1.50"),
        (Multiplier(None, below=0.8), "< 0.80"),
        (Multiplier(None), "cannot say"),
        (None, "-"),
    ],
)
def test_a_multiplier_shows_no_more_than_is_known(value: Multiplier | None, text: str) -> None:
    assert words.multiplier(value) == text


def test_a_narrow_terminal_breaks_no_name_and_no_number() -> None:
    columns = (
        Column("optimizer", "", lambda r: r[0], number=False),
        Column("val loss", "", lambda r: r[1]),
        Column("compute M", "", lambda r: r[2]),
    )
    rows = [("dana-star-mk4", "3.1234 ± 0.0012", "1.07 (open at both ends)")]
    out = io.StringIO()
    Console(file=out, width=48).print(rich_table("Results", columns, rows))
    assert "dana-star-mk4" in out.getvalue()
    assert "3.1234 ± 0.0012" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 48
    for word in ("1.07", "(open", "both", "ends)"):
        assert word in out.getvalue()


def with_sampling(comparison: Comparison, errors: dict[str, float | None]) -> Comparison:
    rows = [
        dataclasses.replace(row, sampling_error=errors.get(row.label)) for row in comparison.rows
    ]
    return dataclasses.replace(comparison, rows=tuple(rows))


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ({"adamw": 0.041, "adana": 0.0412}, "others would move every loss by about 0.041 "),
        (
            {"adamw": 0.041, "muon": 0.58},
            "others would move the loss of adamw by about 0.041 and that of muon by 0.58 ",
        ),
        (
            {"adamw": 0.041, "muon": 0.58, "adana": 0.039},
            "the loss of adamw by about 0.041, those of the others by 0.039 (adana) to 0.58 (muon)",
        ),
    ],
)
def test_one_bad_optimizer_does_not_speak_for_the_validation_set(
    comparison: Comparison, errors: dict[str, float | None], said: str
) -> None:
    found = notes(with_sampling(comparison, errors))
    assert said in found[0]
    assert "(one standard error)" in found[0]


def test_where_no_run_knows_its_sampling_error_nothing_is_said(comparison: Comparison) -> None:
    assert "sample of documents" not in " ".join(notes(with_sampling(comparison, {})))


def test_what_was_left_out_has_a_row_a_sentence_and_its_reason(runs: list[Run]) -> None:
    lost = LeftOut("diverged at every rate", "diverged at every rate of the sweep (0.01, 0.02)")
    comparison = compare(runs, "adamw", left_out={"lion": lost})
    assert [row.label for row in comparison.all_rows][-1] == "lion"
    assert "lion" not in comparison.labels
    assert "| lion | - | 0 | diverged at every rate | - | - |" in markdown(comparison)
    assert "lion has no result: diverged at every rate." in words.verdict(comparison)
    assert "(0.01, 0.02)" in printed(comparison)
    assert as_dict(comparison)["rows"][-1]["ended"] == "diverged at every rate"
