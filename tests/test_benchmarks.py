"""The parts of `benchmarks/step.py`: its lists are what they say, and a tiny run prints it all."""

import csv
import importlib
import math
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def step():
    """The script as a module."""
    sys.path.insert(0, str(FOLDER))
    try:
        yield importlib.import_module("step")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def candidates(step):
    return sys.modules["steps.candidates"]


TINY = ["--list", "uniform", "--millions", "0.001", "--tensors", "2", "--rounds", "2"]


COUNTS = {
    "gpt2-124m": (148, 124_439_808),
    "1b": (146, 1_235_814_400),
    "enoki-0.23m": (19, 229_824),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_lists_of_models_have_the_models_counts(step, name):
    entries = step.lists.LISTS[name]()
    assert (len(entries), sum(entry.count for entry in entries)) == COUNTS[name]


def test_many_small_tensors_are_many_and_small(step):
    entries = step.lists.LISTS["many-small"]()
    assert len(entries) >= 1000
    assert max(entry.count for entry in entries) < 2**15


@pytest.mark.parametrize(("millions", "tensors"), [(10, 40), (0.5, 7), (0.000001, 3)])
def test_a_uniform_list_is_square_matrices_of_nearly_the_size_asked_for(step, millions, tensors):
    entries = step.lists.uniform(millions, tensors)
    rows, columns = entries[0].shape
    assert len(entries) == tensors
    assert 0 <= columns - rows <= 2
    asked = max(1, millions * 1e6 / tensors)
    assert asked - 2 * math.sqrt(asked) <= entries[0].count <= asked


def test_parameters_have_gradients_of_their_own(step):
    entries = step.lists.uniform(0.001, 2)
    a, b = step.lists.parameters(entries, "cpu", torch.float32)
    assert a.grad is not None
    assert not torch.equal(a, b)
    assert not torch.equal(a.grad, b.grad)
    assert not torch.equal(a.grad / 1e-3, a / 0.02)


def test_arguments_that_a_class_does_not_have_yet_leave_it_out(candidates):
    old = SimpleNamespace(DEFAULTS={})
    new = SimpleNamespace(DEFAULTS={"fused": None, "state_dtype": "fp32"})
    assert candidates.arguments_of(old, "fused") is None
    assert candidates.arguments_of(new, "fused") == {"fused": True}
    assert candidates.arguments_of(old, "eager") == {"foreach": False}
    assert candidates.arguments_of(new, "eager") == {"foreach": False, "fused": False}
    assert candidates.with_state_dtype(old, {}, "log16") is None
    assert candidates.with_state_dtype(new, {}, "log16") == {"state_dtype": "log16"}


def test_a_package_that_is_missing_is_left_out_with_how_to_install_it(candidates, monkeypatch):
    nowhere = {"nobody's AdamW": ("no_such_module", "no-such-package", "AdamW")}
    monkeypatch.setattr(candidates, "OTHERS", nowhere)
    assert candidates.others() == (
        [],
        ["nobody's AdamW: left out, not installed; pip install no-such-package"],
    )


@pytest.mark.parametrize(
    ("command", "found"),
    [
        (["/usr/bin/cc", "-O3", "-o", "x.so", "x.c"], True),
        (["g++-12", "x.cpp", "-o", "x"], True),
        (["ptxas", "x.ptx", "-o", "x.cubin"], True),
        (["gcc", "--version"], False),
        (["accounting", "-o", "x"], False),
        ("cc x.c -o x", True),
    ],
)
def test_a_compilation_is_a_compiler_that_writes_a_file(step, command, found):
    assert step.measure.is_compilation(None, command) is found


def test_a_compiler_that_is_started_is_counted(step, tmp_path):
    compiler = tmp_path / "cc"
    compiler.write_text("#!/bin/sh\n")
    compiler.chmod(0o755)
    before = step.measure.Compilations.count()
    subprocess.run([compiler, "-o", "nothing"], check=True)
    assert step.measure.Compilations.count() == before + 1


def test_a_step_that_allocates_has_a_peak(step):
    bytes_ = step.measure.peak_bytes(lambda: torch.ones(1000, 1000).mul(2), "cpu")
    assert 8e6 <= bytes_ < 9e6


def test_on_a_gpu_time_is_between_events_and_nothing_else_is_running(step, monkeypatch):
    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            happened.append("event")

        def elapsed_time(self, other):
            return 2500.0

    happened = []
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: happened.append("wait"))
    seconds, host = step.measure.timed(lambda: happened.append("run"), "cuda")
    assert happened == ["wait", "event", "run", "event", "wait"]
    assert seconds == 2.5
    assert 0 < host < 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error(step, capsys):
    with pytest.raises(SystemExit):
        step.main([*TINY, "--device", "cuda"])
    assert "finds no GPU here" in capsys.readouterr().err


def test_a_tiny_run_prints_writes_and_draws_every_number(step, tmp_path, capsys):
    arguments = [*TINY, "--only", "adana", "adamw"]
    table, chart = tmp_path / "step.csv", tmp_path / "step.svg"
    rows = step.main([*arguments, "--csv", str(table), "--chart", str(chart)])
    printed = capsys.readouterr().out
    names = {row["optimizer"] for row in rows}
    assert {"AdamW fused", "AdamW foreach", "AdamW for-loop", "ADana"} <= names
    heading = next(line for line in printed.splitlines() if "ratio" in line).split()
    for column in ("ms", "ratio", "GB/s", "copy", "state", "peak", "first", "built", "host"):
        assert column in heading
    for row in rows:
        assert f"\n{row['optimizer']} " in printed
        assert 0 < row["ms_low"] <= row["ms"] <= row["ms_high"]
        assert 0 < row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
        assert min(row["gb_s"], row["of_copy"], row["first"], row["host_ms"]) > 0
        assert row["state"] == 8.0 or "Muon" in row["optimizer"]
        assert row["peak"] >= 0
        assert row["rebuilt"] == 0
    with table.open() as file:
        written = list(csv.DictReader(file))
    assert [row["optimizer"] for row in written] == [row["optimizer"] for row in rows]
    assert all(row["machine"] for row in written)
    assert "ADana" in chart.read_text()


def test_a_reference_that_takes_no_part_is_an_error_that_lists_the_choice(step):
    arguments = [*TINY, "--only", "adana"]
    with pytest.raises(SystemExit, match="'Adam' takes no part; the choice: ADana"):
        step.main([*arguments, "--reference", "Adam"])


def test_who_takes_too_long_is_left_out(step, capsys):
    arguments = [*TINY, "--only", "adamw", "--longest", "0"]
    with pytest.raises(SystemExit):
        step.main(arguments)
    assert "AdamW fused: left out, a step takes" in capsys.readouterr().out


def test_the_first_step_is_measured_in_new_processes(step, monkeypatch):
    def run(command, env, **_):
        seen.append((command, {name: env[name] for name in step.measure.CACHES}))
        return type("Result", (), {"stdout": f"noise\n{len(seen)}.5\n"})

    seen = []
    monkeypatch.setattr(step.measure.subprocess, "run", run)
    cold, warm = step.measure.first_steps_elsewhere(["program"])
    assert (cold, warm) == (1.5, 2.5)
    assert seen[0] == seen[1]
    assert not any(Path(folder).exists() for folder in seen[0][1].values())


def test_one_optimizer_alone_tells_the_seconds_of_its_first_step(step, capsys):
    step.main([*TINY, "--alone", "ADana"])
    assert float(capsys.readouterr().out.split()[-1]) > 0


def test_the_memory_of_released_gradients_is_measured(step, capsys):
    before = torch.get_num_threads()
    shape = ["--heads", "1", "--layers", "1", "--vocab", "50", "--tokens", "8", "--rounds", "1"]
    importlib.import_module("gradient_release").main([*shape, "--threads", str(before)])
    lines = capsys.readouterr().out.splitlines()
    assert "gradients" in lines[1]
    assert [line[:18].strip() for line in lines[2:]] == [
        *("AdamW foreach", "AdamW fused", "ADana", "ADana, released")
    ]
