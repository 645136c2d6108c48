"""Tables as files that other programs read: CSV, JSON, and LaTeX for a paper."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from adana.report.study_tables import Sheet
from adana.runs import write_bytes, write_json

SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"$<$", ">": r"$>$", "±": r"$\pm$", "\N{MINUS SIGN}": r"$-$",
}  # fmt: skip
"""Characters that LaTeX does not print as they are."""


def export(sheets: Iterable[Sheet], folder: Path | str) -> list[Path]:
    """Write each table that has rows as ``NAME.csv``, ``.json`` and ``.tex``; return the files."""
    written = []
    for sheet in sheets:
        if not sheet.records:
            continue
        for suffix, text in (("csv", as_csv(sheet)), ("tex", as_latex(sheet))):
            path = Path(folder) / f"{sheet.name}.{suffix}"
            write_bytes(path, text.encode())
            written.append(path)
        path = Path(folder) / f"{sheet.name}.json"
        write_json(path, sheet.records)
        written.append(path)
    return written


def as_csv(sheet: Sheet) -> str:
    """Return a table's numbers as CSV with a heading; what is not known is an empty field."""
    text = io.StringIO()
    rows = sheet.records
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    if rows:
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()


def as_latex(sheet: Sheet) -> str:
    r"""Return a table as LaTeX: a ``tabular`` for the package booktabs, as the page shows it."""
    layout = "".join("r" if column.number else "l" for column in sheet.columns)
    rows = [[column.title for column in sheet.columns], *sheet.cells]
    lines = [" & ".join(map(escape, row)) + r" \\" for row in rows]
    return "\n".join(
        [
            r"% needs \usepackage{booktabs}",
            rf"\begin{{tabular}}{{{layout}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def escape(text: str) -> str:
    """Return text as LaTeX prints it."""
    return "".join(SPECIAL.get(character, character) for character in text)
