"""`adana runs`, `adana sample` and `adana export` as a user meets them."""

import contextlib
import io
import json
import os
import sys
from pathlib import Path

import pytest
from rich.console import Console

from adana.cli import main
from adana.cli.manage import watch
from adana.cli.sample import Writer
from adana.data import save_tokenizer
from adana.data.tokenizer import train_tokenizer
from adana.runs import Run, find_runs, read_json, write_json
from tests.cli.test_command_line import TINY
from tests.train.conftest import write_corpus


def adana(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    return exit_.value.code


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder in which two tiny runs were trained; tests must not change it."""
    folder = tmp_path_factory.mktemp("trained")
    write_corpus(folder / "corpus")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ADANA_CACHE", str(folder / "cache"))
        for name in ("adamw", "adana"):
            arguments = ("--optimizer", name, "--lr", "0.01", "--run", f"runs/{name}-T12-s0")
            assert adana("train", "--data", "corpus", *TINY, *arguments) == 0
    return folder


@pytest.fixture(autouse=True)
def _there(trained, monkeypatch):
    monkeypatch.chdir(trained)
    monkeypatch.setenv("ADANA_CACHE", str(trained / "cache"))
    monkeypatch.setenv("COLUMNS", "100")


def copy_of(trained, tmp_path, name="adana-T12-s0"):
    """Return a run that a test may change, the only one in its folder."""
    run = Run(tmp_path / "runs" / name)
    run.create()
    for path in sorted((trained / "runs" / name).rglob("*")):
        target = run.path / path.relative_to(trained / "runs" / name)
        if path.is_dir():
            target.mkdir(parents=True)
        else:
            target.write_bytes(path.read_bytes())
    return run


# --- adana runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("runs",), ("runs", "list")])
def test_runs_lists_every_run_with_its_numbers(arguments, capsys, trained):
    assert adana(*arguments) == 0
    out = capsys.readouterr().out
    for run in find_runs(trained / "runs"):
        (line,) = [line for line in out.splitlines() if run.name in line]
        for text in ("finished", "12/12", "enoki 1x8", f"{run.summary()['val_loss']:.4f}", "768"):
            assert text in line
    assert "2 runs, " in out


def test_flags_of_the_list_need_no_verb(capsys):
    assert adana("runs", "--json", "--contains", "adamw", "--sort", "loss") == 0
    (listing,) = json.loads(capsys.readouterr().out)
    assert (listing["name"], listing["state"], listing["step"]) == ("adamw-T12-s0", "finished", 12)
    assert adana("runs", "--state", "failed", "new") == 0
    assert "0 of 2 runs" in capsys.readouterr().out


def test_a_run_of_another_version_is_listed_with_its_problem(capsys, trained, tmp_path):
    for name in ("adana-T12-s0", "adamw-T12-s0"):
        run = copy_of(trained, tmp_path, name)
        write_json(run.path / "config.json", run.config() | {"version": 1})
    assert adana("runs", "--runs", str(tmp_path / "runs")) == 0
    assert "adamw-T12-s0 and 1 more: config.json has format 1" in capsys.readouterr().out
    assert adana("runs", "show", "adana", "--runs", str(tmp_path / "runs")) == 0
    assert "config.json has format 1" in capsys.readouterr().out


def test_show_tells_all_of_one_run(capsys):
    assert adana("runs", "show", "adana") == 0
    out = capsys.readouterr().out
    for text in ("optimizer.lr", "val_loss", "train_loss", "torch", "step-00000012", "12 of 12"):
        assert text in out
    assert adana("runs", "show", "adana", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["optimizer"]["name"] == "adana"
    assert shown["last"]["training"]["step"] == 12


def test_compare_shows_what_differs_the_losses_and_curves(capsys, tmp_path):
    page = tmp_path / "report.html"
    assert adana("runs", "compare", "adamw", "adana", "--html", str(page)) == 0
    out = capsys.readouterr().out
    assert "optimizer.name" in out
    assert "optimizer.lr" not in out
    assert "a adamw-T12-s0" in out
    assert "<html" in page.read_text()
    assert adana("runs", "compare", "adamw", "adana", "--json") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["differences"]["optimizer.label"] == ["adamw", "adana"]
    assert len(content["runs"][0]["evaluations"]) == 13


def test_prune_deletes_only_when_told_to(capsys, trained, tmp_path):
    run = copy_of(trained, tmp_path)
    arguments = ("runs", "prune", "--runs", str(tmp_path / "runs"))
    assert adana(*arguments) == 0
    assert "nothing was deleted" in capsys.readouterr().out
    assert len(list(run.checkpoints.iterdir())) == 2
    assert adana(*arguments, "--yes") == 0
    assert "freed" in capsys.readouterr().out
    assert [path.name for path in run.checkpoints.iterdir()] == ["step-00000012"]
    assert adana(*arguments) == 0
    assert "nothing to delete" in capsys.readouterr().out
    with run.lock():
        assert adana(*arguments, "--keep", "0", "--yes") == 0
    assert "being trained, left alone: adana-T12-s0" in capsys.readouterr().out
    assert len(list(run.checkpoints.iterdir())) == 1


def test_every_verb_takes_the_beginning_of_a_name(capsys, tmp_path):
    output = str(tmp_path / "out")
    assert adana("report", "adam", "adana", "--output", output) == 0
    assert adana("report", "nobody", "--output", output) == 1
    assert adana("branch", "nobody", "--steps", "8") == 1
    assert adana("train", "--config", "nobody", "--run", str(tmp_path / "run")) == 1
    assert capsys.readouterr().err.count("no run below runs is called 'nobody'") == 3
    assert adana("branch", "adam", "--steps", "8") == 2  # it is found, and is no trunk
    assert "constant" in capsys.readouterr().err


def test_watch_shows_a_run_that_ended_at_once(capsys):
    assert adana("runs", "watch", "adana") == 0
    out = capsys.readouterr().out
    for text in ("finished", "12 of 12", "tokens/s", "nothing"):
        assert text in out


def test_watch_follows_a_run_until_nobody_trains_it(capsys, trained, tmp_path, monkeypatch):
    run = copy_of(trained, tmp_path)
    rows = list(run.metrics())
    run.truncate_metrics(-1)
    run.set_status("running", step=0)
    training = contextlib.ExitStack()
    training.enter_context(run.lock())

    def train_on(seconds):
        assert seconds == 0.5
        if rows:
            run.append_metrics(rows.pop(0))
        else:
            run.set_status("finished", step=12)
            training.close()

    monkeypatch.setattr(watch.time, "sleep", train_on)
    assert adana("runs", "watch", str(run.path), "--every", "0.5") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("step 0/12, loss -, val ")
    assert lines[-2].startswith("step 12/12, loss ")
    assert lines[-1] == "finished"


def test_on_a_terminal_the_view_is_drawn_anew(capsys, trained, tmp_path, monkeypatch):
    run = copy_of(trained, tmp_path)
    training = contextlib.ExitStack()
    training.enter_context(run.lock())
    monkeypatch.setattr(watch, "Console", lambda: Console(force_terminal=True, width=100))
    monkeypatch.setattr(watch.time, "sleep", lambda seconds: training.close())
    assert adana("runs", "watch", str(run.path)) == 0
    out = capsys.readouterr().out
    assert out.count("12 of 12") > 1
    assert "\x1b[" in out  # the cursor goes back up before the second view


def test_ctrl_c_ends_the_view_and_not_the_run(capsys, trained, tmp_path, monkeypatch):
    run = copy_of(trained, tmp_path)

    def interrupt(seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", interrupt)
    with run.lock():
        assert adana("runs", "watch", str(run.path)) == 0
    assert "the run goes on" in capsys.readouterr().out


@pytest.mark.libraries
def test_mirror_fills_tensorboard_from_the_record(capsys, trained, tmp_path):
    pytest.importorskip("tensorboard", reason='needs: pip install "adana[tensorboard]"')
    run = copy_of(trained, tmp_path)
    assert adana("runs", "mirror", str(run.path), "--to", "tensorboard") == 0
    assert "tensorboard has all metrics of adana-T12-s0" in capsys.readouterr().out
    assert list((run.path / "tensorboard").iterdir())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("runs", "--runs", "nowhere"), "--runs nowhere does not exist"),
        (("runs", "--limit", "0"), "--limit must be at least 1"),
        (("runs", "show", "ada"), "begins the names of 2 runs"),
        (("runs", "show", "muon"), "no run below runs is called 'muon'"),
        (("runs", "compare", "adana"), "name two or more runs"),
        (("runs", "watch", "adana", "--every", "0"), "--every must be above 0"),
        (("runs", "mirror", "adana", "--to", "excel"), "unknown tracker 'excel'"),
        (("runs", "prune", "--keep", "-1"), "--keep must be at least 0"),
        (("sample", "adana", "--step", "5"), "no checkpoint of step 5"),
        (("sample", "adana", "--temperature", "-1"), "temperature must be"),
        (("sample", "adana", "--prompt", "\udcc3\udca9"), "is no valid text in the encoding"),
        (("sample", "nothing"), "no run below runs is called 'nothing'"),
    ],
)
def test_wrong_input_gets_one_clear_line_and_no_traceback(arguments, message, capsys):
    assert adana(*arguments) in (1, 2)
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "verb",
    [
        ("runs",),
        *(("runs", v) for v in ("list", "show", "compare", "watch", "mirror", "prune")),
        ("sample",),
        ("export",),
    ],
    ids=" ".join,
)
def test_help_teaches_each_verb(verb, capsys):
    assert adana(*verb, "--help") == 0
    out = capsys.readouterr().out
    assert f"usage: adana {' '.join(verb)}" in out
    assert "default" in out.lower()


# --- adana sample ---------------------------------------------------------------------------------


def test_sample_continues_the_prompt_the_same_way_for_the_same_seed(capsys):
    texts = []
    for seed in ("1", "1", "2"):
        arguments = ("--prompt", "def ", "--tokens", "30", "--top-k", "50", "--seed", seed)
        assert adana("sample", "adana", *arguments) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] != texts[2]
    assert all(text.startswith("def ") and len(text) > 30 for text in texts)


def test_sample_ends_quietly_when_nobody_reads_it(capsys, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert adana("sample", "adana", "--tokens", "1000000") == 1
    assert capsys.readouterr().err == ""


def test_sample_writes_what_the_encoding_of_the_terminal_has(monkeypatch):
    binary = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(binary, encoding="ascii"))
    assert adana("sample", "adana", "--prompt", "caf\u00e9", "--tokens", "1") == 0
    assert binary.getvalue().startswith(b"caf?")


def test_sample_needs_neither_cache_nor_corpus_when_the_run_keeps_its_tokenizer(
    capsys, trained, tmp_path, monkeypatch
):
    run = copy_of(trained, tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "empty"))
    (run.path / "tokenizer.json").unlink(missing_ok=True)
    assert adana("sample", str(run.path), "--tokens", "3") == 1
    assert "has no tokenizer.json" in capsys.readouterr().err
    (prepared,) = (trained / "cache").glob("*/tokenizer.json")
    (run.path / "tokenizer.json").write_bytes(prepared.read_bytes())
    assert adana("sample", str(run.path), "--tokens", "3") == 0


def test_a_character_is_written_when_all_its_bytes_are_there():
    tokenizer = train_tokenizer(["abc " * 50], 257)
    (ids,) = tokenizer.encode_documents(["h\u00e9\U0001f600!"])
    written = []
    writer = Writer(tokenizer, written.append)
    for token in [*ids, tokenizer.end_of_text]:
        writer.take(int(token))
    assert written == ["h", "\u00e9", "\U0001f600", "!"]
    writer.take(int(ids[1]))
    writer.end()
    assert written[4:] == ["\N{REPLACEMENT CHARACTER}"]


def test_bytes_that_are_no_character_do_not_stop_the_text():
    tokenizer = train_tokenizer(["abc " * 50], 257)
    (ids,) = tokenizer.encode_documents(["\u00e9a"])
    written = []
    writer = Writer(tokenizer, written.append)
    for token in [int(ids[0])] * 12 + [int(ids[2])]:
        writer.take(token)
    writer.end()
    assert "".join(written) == "\N{REPLACEMENT CHARACTER}" * 12 + "a"


# --- adana export ---------------------------------------------------------------------------------


@pytest.mark.libraries
def test_an_exported_run_is_loaded_by_transformers_and_writes_the_same(capsys, tmp_path):
    transformers = pytest.importorskip("transformers", reason='needs: pip install "adana[hf]"')
    folder = tmp_path / "exported"
    assert adana("export", "adana", "--to", str(folder)) == 0
    assert "exported adana-T12-s0 after 12 steps" in capsys.readouterr().out
    loss = read_json(Path("runs/adana-T12-s0/summary.json"))["val_loss"]
    assert f"| {loss:.4f} |" in (folder / "README.md").read_text()
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("def f", return_tensors="pt", return_token_type_ids=False)
    made = model.generate(**inputs, max_new_tokens=20, do_sample=False)[0]
    arguments = ("--prompt", "def f", "--tokens", "20", "--temperature", "0")
    assert adana("sample", "adana", *arguments) == 0
    assert capsys.readouterr().out == tokenizer.decode(made, skip_special_tokens=True) + "\n"
    assert adana("export", "adana", "--to", str(folder)) == 1
    assert "not an empty folder" in capsys.readouterr().err
    assert adana("export", "adana", "--to", str(tmp_path / "early"), "--step", "11") == 0
    assert "An intermediate state" in (tmp_path / "early" / "README.md").read_text()


def test_export_without_transformers_says_what_to_install(capsys, monkeypatch, tmp_path):
    for name in [name for name in sys.modules if name.startswith("adana.hf")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert adana("export", "adana", "--to", str(tmp_path / "x")) == 1
    assert 'pip install "adana[hf]"' in capsys.readouterr().err


def test_a_tokenizer_can_be_saved_into_a_run(trained, tmp_path):
    run = copy_of(trained, tmp_path)
    save_tokenizer(run, train_tokenizer(["abc " * 50], 257))
    assert json.loads((run.path / "tokenizer.json").read_text())["model"]["type"] == "BPE"
