"""From run directories to findings: the comparison as data, tables, charts and one HTML page.

>>> comparison = compare(find_runs(Path("runs")), baseline="adamw")     # doctest: +SKIP
>>> rich.print(terminal(comparison))                                     # doctest: +SKIP
>>> write_report(comparison, Path("report.html"))                        # doctest: +SKIP
"""

from adana.report.card import model_card
from adana.report.charts import (
    all_charts,
    multiplier_chart,
    schedule_charts,
    training_chart,
    validation_chart,
)
from adana.report.common_scale import alike
from adana.report.compare import (
    Comparison,
    Estimate,
    Group,
    LeftOut,
    Row,
    compare,
)
from adana.report.differences import differences
from adana.report.drawing import Image, save_static
from adana.report.follow import Follower
from adana.report.html import render, write_report
from adana.report.listing import (
    SORT_KEYS,
    Listing,
    disk_bytes,
    find_run,
    last_rows,
    list_runs,
    read_listing,
    run_called,
    select,
)
from adana.report.reading import best_of_nothing
from adana.report.records import Point, Record, read_record
from adana.report.schedule_page import overview, write_schedules
from adana.report.schedules import Course, totals
from adana.report.search_numbers import plain
from adana.report.search_page import render_search, write_search
from adana.report.study import Result, Study, is_study, read_study
from adana.report.study_charts import study_charts
from adana.report.study_page import render_study, write_study
from adana.report.study_text import study_terminal
from adana.report.sweep import Trial, read_trials, sweep_edges, sweep_table
from adana.report.tables import as_dict, markdown, terminal
from adana.report.textplot import line_chart, sparkline
from adana.report.words import verdict

__all__ = [
    "SORT_KEYS",
    "Comparison",
    "Course",
    "Estimate",
    "Follower",
    "Group",
    "Image",
    "LeftOut",
    "Listing",
    "Point",
    "Record",
    "Result",
    "Row",
    "Study",
    "Trial",
    "alike",
    "all_charts",
    "as_dict",
    "best_of_nothing",
    "compare",
    "differences",
    "disk_bytes",
    "find_run",
    "is_study",
    "last_rows",
    "line_chart",
    "list_runs",
    "markdown",
    "model_card",
    "multiplier_chart",
    "overview",
    "plain",
    "read_listing",
    "read_record",
    "read_study",
    "read_trials",
    "render",
    "render_search",
    "render_study",
    "run_called",
    "save_static",
    "schedule_charts",
    "select",
    "sparkline",
    "study_charts",
    "study_terminal",
    "sweep_edges",
    "sweep_table",
    "terminal",
    "totals",
    "training_chart",
    "validation_chart",
    "verdict",
    "write_report",
    "write_schedules",
    "write_search",
    "write_study",
]
