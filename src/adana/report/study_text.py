"""A study in the terminal: a table a size, the budget, what was found and what weakens it."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from adana.report import study_words
from adana.report.study import Study
from adana.report.study_tables import TERMINAL, TERMINAL_BUDGET, of_scales
from adana.report.tables import rich_table


def study_terminal(study: Study) -> RenderableType:
    """Return the tables, the verdict and the warnings for a `rich` console."""
    return Group(
        *(rich_table(heading, TERMINAL, results) for heading, results in of_scales(study)),
        *(Text(sentence) for sentence in study_words.verdict(study)),
        Text(),
        rich_table("Budget", TERMINAL_BUDGET, study.spending),
        *(Text(text, style="dim") for text in study.findings.statements),
        *(Text(f"warning: {text}") for text in study_words.warnings(study)),
    )
