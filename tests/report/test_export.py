"""Tables as files: what other programs read back is what the study found."""

import csv
import json
from pathlib import Path

import pytest

from adana.report import Study, write_study
from adana.report.export import as_csv, as_latex, escape, export
from adana.report.study_page import as_dict
from adana.report.study_tables import sheets


def test_each_table_is_written_in_each_format(study: Study, tmp_path: Path) -> None:
    written = {path.name for path in export(sheets(study), tmp_path)}
    names = ("results", "optima", "rates", "budget", "cost", "decay")
    assert written == {f"{name}.{suffix}" for name in names for suffix in ("csv", "json", "tex")}


def test_csv_and_json_hold_the_same_numbers(study: Study, tmp_path: Path) -> None:
    export(sheets(study), tmp_path)
    rows = list(csv.DictReader((tmp_path / "results.csv").read_text().splitlines()))
    values = json.loads((tmp_path / "results.json").read_text())
    assert len(rows) == len(values) == 8
    for row, value, result in zip(rows, values, study.results, strict=True):
        assert result.loss is not None
        assert float(row["loss"]) == value["loss"] == result.loss.mean
        assert row["optimizer"] == result.label
    assert rows[0]["difference"] == ""
    assert values[0]["difference"] is None


def test_an_empty_table_is_empty_text(study: Study) -> None:
    sheet = sheets(study)[0]
    empty = type(sheet)(sheet.name, sheet.title, sheet.columns, (), sheet.data)
    assert as_csv(empty) == ""


def test_a_table_without_rows_writes_no_file(study: Study, tmp_path) -> None:
    sheet = sheets(study)[0]
    empty = type(sheet)("empty", sheet.title, sheet.columns, (), sheet.data)
    written = export([sheet, empty], tmp_path)
    assert {path.stem for path in written} == {sheet.name}
    assert sorted(written) == sorted(tmp_path.iterdir())


def test_latex_has_a_row_a_line_and_no_bare_special_character(study: Study) -> None:
    text = as_latex(sheets(study)[0])
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    assert len(body) == 8
    assert all(line.endswith(r"\\") for line in body)
    assert r"$\pm$" in text
    assert "±" not in text


def test_what_latex_would_take_for_a_command_is_escaped() -> None:
    assert escape(r"a_b & 5% of $x\y") == r"a\_b \& 5\% of \$x\textbackslash{}y"


def test_an_unknown_picture_format_is_refused_before_anything_is_written(
    study: Study, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="svg, pdf, png, not as gif"):
        write_study(study, tmp_path / "report", images=("gif",))  # type: ignore[arg-type]
    assert not (tmp_path / "report").exists()


def test_the_whole_study_is_plain_json(study: Study) -> None:
    plain = json.loads(json.dumps(as_dict(study), allow_nan=False))
    assert set(plain["laws"]) == {"adamw", "adana"}
    estimators = [curve["estimator"] for curve in plain["multipliers"]]
    assert estimators == ["piecewise", "fitted"]
    assert plain["multipliers"][0]["value"][-1] is None, "beyond the baseline's lowest loss"
    assert len(plain["runs"]) == len(study.records)
