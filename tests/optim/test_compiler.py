"""Kernels without a compiler, with a bad one, and with a cache that is spoilt or of no use."""

import logging
import os
import re
import signal
import time
import warnings
import weakref

import pytest
import torch

import adana
from adana.optim import fused
from adana.optim.kernel import c_launch, c_library, c_source
from tests.ranks import forkserver

from .conftest import close, parameters, run, same, set_gradients


@pytest.fixture(autouse=True)
def fresh(monkeypatch, tmp_path):
    """A process that has compiled nothing yet, with a cache of its own."""
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    forget()
    yield
    forget()


def forget():
    c_launch.kernel.known.clear()
    for function in (c_library.compiler, fused._say_once):
        function.cache_clear()


def trained(**options):
    params = parameters()
    run(adana.ADana, params, 2, lr=1e-2, **options)
    return params


def failing(tmp_path, monkeypatch, script):
    path = tmp_path / "my-cc"
    path.write_text(f"#!/bin/sh\necho call >> {tmp_path}/calls\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setenv("CC", str(path))


def test_without_a_compiler_steps_are_computed_by_torch_and_a_line_says_so(monkeypatch, caplog):
    expected = trained(foreach=False)
    monkeypatch.setenv("CC", "/nonexistent/cc -m64")
    with warnings.catch_warnings(), caplog.at_level(logging.INFO, "adana"):
        warnings.simplefilter("error")
        found = trained()
    assert close(found, expected)
    lines = [r.message for r in caplog.records if "not fused" in r.message]
    assert len(lines) == 1
    assert "/nonexistent/cc" in lines[0]
    assert "CC" in lines[0]


def test_asking_for_fused_steps_without_a_compiler_warns_once(monkeypatch):
    monkeypatch.setenv("CC", "/nonexistent/cc")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        trained(fused=True)
        trained(fused=True)
    assert ["not fused" in str(each.message) for each in seen] == [True]


BROKEN = {
    "an error": "echo 'no such flag' >&2; exit 3",
    "no output": "exit 0",
    "killed": "kill -9 $$",
    "bytes of another encoding": "printf 'Fl\\344che\\n' >&2; exit 3",
}


@pytest.mark.parametrize("script", BROKEN.values(), ids=BROKEN)
def test_a_failing_compiler_is_not_asked_at_every_step(monkeypatch, tmp_path, script):
    expected = trained(foreach=False)
    failing(tmp_path, monkeypatch, script)
    with pytest.warns(UserWarning, match="not fused"):
        found = trained(fused=True)
    calls = (tmp_path / "calls").read_text().count("call")
    trained(fused=True)
    assert (tmp_path / "calls").read_text().count("call") == calls
    assert close(found, expected)


def test_what_the_compiler_said_is_in_the_warning(monkeypatch, tmp_path):
    failing(tmp_path, monkeypatch, "echo 'no such flag' >&2; exit 3")
    with pytest.warns(UserWarning, match="code 3: no such flag"):
        trained(fused=True)


WORKING = {
    "it says something in another encoding": "printf '\\344\\377\\n' >&2",
    "it does not know this processor": 'case "$*" in *native*) exit 1;; esac',
    "it has no OpenMP": 'case "$*" in *-fopenmp\\ *) exit 1;; esac',
    "it reads what is typed": "cat > /dev/null",
}


@pytest.mark.parametrize("script", WORKING.values(), ids=WORKING)
def test_a_compiler_that_works_after_all_is_used(monkeypatch, tmp_path, script):
    real = " ".join(c_library.compiler())
    c_library.compiler.cache_clear()
    failing(tmp_path, monkeypatch, f'{script}\nexec {real} "$@"')
    reading, writing = os.pipe()  # nobody ever types
    before = os.dup(0)
    os.dup2(reading, 0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = trained(fused=True)
    finally:
        os.dup2(before, 0)
        for each in (reading, writing, before):
            os.close(each)
    assert (tmp_path / "calls").exists()
    assert close(found, trained(foreach=False))


@pytest.mark.parametrize("code", ["fp32", "log16"])
def test_fetching_ahead_changes_no_bit(monkeypatch, code):
    """Which the processor decides; here both kernels are made, and must differ."""
    found, texts = [], set()
    for condition in ("#if 0", "#if 1"):
        text = re.sub(r"#if .*", condition, c_source.FETCHING)
        texts.add(text)
        monkeypatch.setattr(c_source, "FETCHING", text)
        forget()
        params = parameters(shapes=[(70_001,), (129,), (63,)])
        optimizer = run(adana.DanaStar, params, 3, lr=1e-2, state_dtype=code, fused=True)
        states = [x for p in params for x in optimizer.state[p].values()]
        found.append([p.detach().clone() for p in params] + states)
    assert len(texts) == 2
    assert same(*found)


def test_kernels_are_kept_where_adana_cache_says(tmp_path):
    trained()
    (kept,) = (tmp_path / "cache" / "kernels").iterdir()
    assert kept.suffix == ".so"
    c_launch.kernel.known.clear()
    before = kept.stat().st_mtime_ns
    trained()
    assert kept.stat().st_mtime_ns == before


@pytest.mark.parametrize("how", ["a file in its place", "no home"])
def test_a_cache_that_cannot_be_used_costs_a_compilation_and_says_so(
    monkeypatch, tmp_path, caplog, how
):
    if how == "no home":
        monkeypatch.delenv("ADANA_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

        def homeless(self):
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr(c_library.Path, "expanduser", homeless)
    else:
        (tmp_path / "cache").write_text("not a folder")
    with caplog.at_level(logging.WARNING, "adana"), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = trained(fused=True)
    assert "ADANA_CACHE" in caplog.text
    assert close(found, trained(foreach=False))


def step_with_a_cache(cache, file):
    """Step in a process that has compiled nothing; what became of the weights is in the file."""
    os.environ["ADANA_CACHE"] = str(cache)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file.write_text(str([p.tolist() for p in trained(fused=True)]))


def in_a_process(function, *arguments):
    """Run a function in a new process, and wait for it to end well."""
    process = forkserver().Process(target=function, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize("content", [b"", b"not a library", 100, 5000])
def test_a_spoilt_library_in_the_cache_is_compiled_again(tmp_path, content):
    """Loading one that ends in the middle would end the process."""
    cache, results = tmp_path / "cache", tmp_path / "results"
    in_a_process(step_with_a_cache, cache, results)
    first = results.read_text()
    (kept,) = (cache / "kernels").glob("*.so")
    whole = kept.read_bytes()
    kept.unlink()
    kept.write_bytes(whole[:content] if isinstance(content, int) else content)
    in_a_process(step_with_a_cache, cache, results)
    assert results.read_text() == first != ""
    assert kept.read_bytes() == whole


def test_code_that_someone_else_may_have_written_is_not_loaded(monkeypatch, tmp_path, caplog):
    expected = trained()
    (kept,) = (tmp_path / "cache" / "kernels").iterdir()
    loaded = []
    load = c_library.ctypes.CDLL
    monkeypatch.setattr(c_library.ctypes, "CDLL", lambda path: loaded.append(path) or load(path))

    def again():
        loaded.clear()
        caplog.clear()
        c_launch.kernel.known.clear()
        assert close(trained(), expected)
        return str(kept) in loaded

    assert again()
    kept.parent.chmod(0o777)
    assert not again()
    assert "everyone may write" in caplog.text
    kept.parent.chmod(0o700)
    assert again()
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    if os.getuid() != 0:  # what is root's is trusted
        assert not again()
        assert "another user's" in caplog.text


def test_the_folder_of_kernels_is_for_its_user_alone(tmp_path):
    before = os.umask(0o000)
    try:
        trained()
    finally:
        os.umask(before)
    assert (tmp_path / "cache" / "kernels").stat().st_mode & 0o777 == 0o700


def test_a_full_cache_folder_costs_a_compilation_and_says_so(monkeypatch, caplog):
    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(c_library.shutil, "copy", full)
    with caplog.at_level(logging.WARNING, "adana"), warnings.catch_warnings():
        warnings.simplefilter("error")
        found = trained(fused=True)
    assert "No space left" in caplog.text
    assert close(found, trained(foreach=False))


def test_processes_that_compile_at_once_do_not_disturb_each_other(tmp_path):
    files = [tmp_path / name for name in "ab"]
    both = [
        forkserver().Process(target=step_with_a_cache, args=(tmp_path / "cache", file))
        for file in files
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert files[0].read_text() == files[1].read_text() != ""
    (kept,) = (tmp_path / "cache" / "kernels").iterdir()
    assert kept.suffix == ".so"


def test_three_hundred_tensors_compile_one_kernel(tmp_path):
    params = parameters(shapes=[(3, 4), (5,)] * 150)
    run(adana.ADana, params, 2, lr=1e-2)
    assert len(list((tmp_path / "cache" / "kernels").iterdir())) == 1
    assert all(torch.isfinite(p).all() for p in params)


def test_steps_without_a_compiler_keep_no_gradients(monkeypatch):
    """An exception that is raised again and again has a traceback of all the steps."""
    monkeypatch.setenv("CC", "/nonexistent/cc")
    (p,) = parameters(shapes=[(5,)])
    optimizer = adana.ADana([p], 1e-2)
    alive = []
    for step in range(3):
        set_gradients([p], step)
        alive.append(weakref.ref(p.grad))
        optimizer.step()
    p.grad = None
    assert [x() for x in alive] == [None] * 3


def step_and_fork(cache, file):
    """Step on two threads, then in a child; write down how the child ended."""
    os.environ["ADANA_CACHE"] = str(cache)
    torch.set_num_threads(2)
    params = parameters(shapes=[(1000,)] * 100)  # torch's own threads are for larger tensors
    optimizer = run(adana.ADana, params, 1, lr=1e-2, fused=True)
    child = os.fork()
    if child == 0:
        optimizer.step()
        os._exit(7)
    end = time.monotonic() + 60
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            raise TimeoutError("the child hangs")
        time.sleep(0.01)
    optimizer.step()
    file.write_text(str(os.waitstatus_to_exitcode(ended[1])))


def test_a_process_that_was_forked_after_a_step_steps_too(tmp_path):
    in_a_process(step_and_fork, tmp_path / "cache", tmp_path / "result")
    assert (tmp_path / "result").read_text() == "7"
