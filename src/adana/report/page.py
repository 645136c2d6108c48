"""A page of charts: one HTML file that opens without a network, today and in ten years.

Charts are Vega-Lite specifications, and the library that draws them is in the file. A content
security policy in the page forbids every outside resource, so that "offline" is a property and not
a hope. Text stands without JavaScript.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from adana.report import drawing


class Figure(NamedTuple):
    """A chart on the page: its specification and what a reader should look for."""

    name: str
    title: str
    caption: str
    spec: dict[str, Any]


class Heading(NamedTuple):
    """A column of a table: its heading and a sentence that explains it."""

    title: str
    help: str
    number: bool = True


def figure(name: str, title: str, caption: str, chart: drawing.Chart) -> Figure:
    """Return a chart ready for the page: as wide as its column, with no address in it."""
    spec = chart.to_dict()
    spec.pop("$schema", None)
    spec["description"] = f"{title}. {caption}"
    spec["width"] = "container"
    spec["background"] = "transparent"
    spec.setdefault("config", {})["font"] = "system-ui, sans-serif"
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return Figure(name, title, caption, spec)


def page(template: str, drawings: Iterable[Figure], /, **values: Any) -> str:
    """Return the page of a template that extends `page.html.j2`, with its charts in it.

    `drawings` are all charts of the page, for the script that draws them; the template says where
    each one stands. `values` are what else it needs.
    """
    environment = Environment(
        loader=PackageLoader("adana.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawings = list(drawings)
    return environment.get_template(template).render(
        drawings=drawings,
        javascript=Markup(drawing.javascript()) if drawings else "",  # trusted: from vl-convert
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        **values,
    )
