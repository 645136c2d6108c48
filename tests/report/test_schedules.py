"""The page of the schedules: its curves are `adana.schedules`, it is offline, its sliders work."""

import re
from pathlib import Path

import pytest

from adana import schedules
from adana.report import Course, overview, save_static, write_schedules
from adana.report.schedule_page import HEADINGS, chart, rows, table
from adana.report.schedules import DELTAS, pictures

from .browser import browse, dom, drawing, needs_browser, pixels
from .test_html import Page

T, WARMUP = 2000, 40


def gamma(t):
    return schedules.warmup_cosine(t, T, WARMUP)


def linear(t):
    return schedules.warmup_linear(t, T, WARMUP)


COURSE = Course(T, {"cosine": gamma, "linear": linear}, kappa=0.77, delta=5.0, omega=3.0)
PICTURES = {picture.name: picture for picture in pictures(COURSE)}


def log_time_decay(t, omega):
    return schedules.log_time_decay(t, omega, schedules.default_decay_offset(omega, T))


def constant_decay(t, omega):
    return schedules.constant_decay(omega, T)


def ademamix_weight(t, delta):
    return 1 - schedules.ademamix_beta(t, 0.9, 1 - delta / T, T)


EXPECTED = {
    ("weight", "β₁ = 0.9"): lambda t: 0.1,
    ("weight", "β₂ = 0.999"): lambda t: 0.001,
    ("weight", "log-time"): schedules.ema_weight,
    ("weight", "AdEMAMix slow"): ademamix_weight,
    ("age", "β₁ = 0.9"): lambda t: schedules.constant_mean_age(t, 0.9),
    ("age", "β₂ = 0.999"): lambda t: schedules.constant_mean_age(t, 0.999),
    ("age", "log-time"): schedules.mean_age,
    ("momentum", "damped"): schedules.damping,
    ("momentum", "undamped"): schedules.undamped,
    ("momentum", "AdEMAMix"): lambda t, kappa: schedules.ademamix_alpha(t, T ** (1 - kappa), T),
    ("decay", "constant"): constant_decay,
    ("decay", "log-time"): log_time_decay,
    ("decay", "constant × γ"): lambda t, omega: constant_decay(t, omega) * gamma(t),  # noqa: RUF001
    ("decay", "log-time × γ"): lambda t, omega: log_time_decay(t, omega) * gamma(t),  # noqa: RUF001
    ("removed", "constant"): lambda t, omega: schedules.total_decay(
        lambda s: constant_decay(s, omega), gamma, t
    ),
    ("removed", "log-time"): lambda t, omega: schedules.total_decay(
        lambda s: log_time_decay(s, omega), gamma, t
    ),
    ("gamma", "cosine"): gamma,
    ("gamma", "linear"): linear,
}


@pytest.mark.parametrize("name", list(PICTURES))
def test_every_point_of_every_curve_is_what_the_schedules_say(name: str) -> None:
    seen = set()
    for row in rows(PICTURES[name], T, points=12):
        label, t, y = row.pop("curve"), row.pop("t"), row.pop("y")
        assert y == pytest.approx(EXPECTED[name, label](t, **row), rel=1e-4), (label, t, row)
        seen.add(label)
    assert seen == {label for picture, label in EXPECTED if picture == name}
    assert seen == {style.label for style in PICTURES[name].styles}


def test_the_sliders_offer_the_grid_and_the_values_asked_for() -> None:
    assert COURSE.choices["delta"] == sorted([*DELTAS, 5.0])
    sampled = {row["delta"] for row in rows(PICTURES["weight"], T) if "delta" in row}
    assert sampled == set(COURSE.choices["delta"])


def test_the_chart_starts_at_the_settings_asked_for() -> None:
    spec = chart(PICTURES["momentum"], COURSE).to_dict()
    assert {"name": "kappa", "value": 0.77} in spec["params"]
    assert {"name": "delta", "value": 5.0} in spec["params"]


def test_the_table_holds_the_schedules_at_a_few_steps() -> None:
    cells = table(COURSE)
    assert [row[0] for row in cells] == ["1", "10", "100", "1,000", "2,000"]
    assert all(len(row) == len(HEADINGS) for row in cells)
    assert float(cells[2][1]) == pytest.approx(5 / 105, rel=1e-2)
    total = schedules.total_decay(lambda t: log_time_decay(t, 3.0), gamma, T)
    assert float(cells[-1][-1]) == pytest.approx(total, rel=1e-2)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 50},
        {"steps": 10**8},
        {"delta": 2000.0},
        {"omega": 2000.0},
        {"omega": 4.0, "decay_offset": 1.0},
    ],
)
def test_what_cannot_be_drawn_is_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Course(**{"steps": T, "gammas": COURSE.gammas, **bad})


def test_all_charts_make_one_static_picture(tmp_path: Path) -> None:
    save_static(overview(COURSE), tmp_path / "all.svg")
    text = (tmp_path / "all.svg").read_text()
    for picture in PICTURES.values():
        assert picture.title in text


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "schedules.html"
    write_schedules(COURSE, path, [("steps", "<b>2000</b>")])
    return path


def test_the_page_is_whole_and_loads_nothing(html: Path) -> None:
    text = html.read_text()
    page = Page(text)
    assert page.open == []
    assert page.addresses == ["data:,"]
    assert "<b>2000</b>" in page.text
    assert len(text) < 3_000_000


@needs_browser
def test_every_chart_is_drawn_and_the_page_is_not_blank(html: Path, tmp_path: Path) -> None:
    body = dom(tmp_path / "profile", html)
    for name in PICTURES:
        assert re.search(r'<svg[^>]* class="marks"', drawing(body, name)), name
    assert 'class="missing' not in body
    picture = tmp_path / "page.png"
    browse(tmp_path / "profile", html, f"--screenshot={picture}", "--window-size=1100,2400")
    assert len(pixels(picture.read_bytes())) > 500


@needs_browser
def test_a_slider_changes_the_charts_that_depend_on_it_and_no_others(
    html: Path, tmp_path: Path
) -> None:
    def lines(body: str, name: str) -> list[str]:
        return re.findall(r'<path aria-label="[^"]*" [^>]*? d="([^"]*)"', drawing(body, name))

    move = """<script>setTimeout(function () {
        const slider = document.querySelector("input[data-signal=kappa]");
        slider.value = 0;
        slider.dispatchEvent(new Event("input"));
    }, 3000);</script>"""
    moved = tmp_path / "moved.html"
    start, _, end = html.read_text().rpartition("</body>")
    moved.write_text(f"{start}{move}</body>{end}")
    before, after = dom(tmp_path / "one", html), dom(tmp_path / "two", moved)
    assert ">0.77</output>" in before
    assert ">0.5</output>" in after
    assert lines(before, "momentum") != lines(after, "momentum") != []
    for name in ("weight", "age", "decay", "removed", "gamma"):
        assert lines(before, name) == lines(after, name) != []
