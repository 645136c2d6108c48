"""`adana data` as a user meets it."""

import io
import json
import os
import re
import shutil

import pytest
from rich.console import Console

from adana.cli import data_flags, main, prepare
from adana.cli.data_flags import DataFlags
from adana.data import DataConfig, Unreachable, entries
from adana.data import build as build_module
from adana.data.tokenizer import train_tokenizer
from tests.train.conftest import write_corpus


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADANA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    write_corpus(tmp_path / "corpus")
    return tmp_path / "cache"


def data(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(("data", *arguments))
    return exit_.value.code


def ready(*arguments):
    assert data("prepare", "corpus", "--vocab-size", "300", *arguments) == 0


def test_prepare_takes_the_corpus_by_position_or_by_flag(cache, capsys):
    ready()
    assert data("--data", "corpus", "--vocab-size", "300") == 0
    assert len(entries(cache)) == 1
    out = capsys.readouterr().out
    for text in ("bytes a token", "tokenizer  trained, 300 tokens", "sha256", "corpus  corpus, "):
        assert text in out


def test_list_shows_what_is_there_finished_or_not(cache, capsys, monkeypatch):
    assert data("list") == 0
    assert f"0 in {cache}" in capsys.readouterr().out
    ready()
    monkeypatch.setattr(build_module, "BATCH_BYTES", 500)
    interrupt(monkeypatch)
    assert data("prepare", "corpus", "--vocab-size", "310") == 130
    capsys.readouterr()
    assert data("list") == 0
    out = capsys.readouterr().out
    assert re.search(r"corpus: [\d,]+ \+ [\d,]+ tokens, tokenizer trained of 300", out)
    assert re.search(r"unfinished, [1-9][\d,]* tokens done", out)
    assert "2 in" in out


def interrupt(monkeypatch):
    """Press Ctrl-C after a few batches."""
    append, count = build_module._append, []

    def pressed(*arguments):
        count.append(1)
        if len(count) == 4:
            raise KeyboardInterrupt
        return append(*arguments)

    monkeypatch.setattr(build_module, "_append", pressed)


def test_interruption_says_how_to_go_on_and_the_same_command_does(capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "BATCH_BYTES", 500)
        interrupt(patch)
        assert data("prepare", "corpus", "--vocab-size", "300") == 130
    assert "what is done is kept, the same command goes on" in capsys.readouterr().out
    ready()
    assert re.search(r"going on after [1-9]\d* documents", capsys.readouterr().out)


def test_describe_takes_the_first_letters_of_a_key(cache, capsys):
    ready()
    (entry,) = entries(cache)
    capsys.readouterr()
    assert data("describe", entry.key[:5]) == 0
    assert "bytes a token" in capsys.readouterr().out
    assert data("describe", "nothing") == 2
    assert "`adana data list` shows" in capsys.readouterr().err


def test_verify_names_the_damaged_file_and_goes_on_to_the_next(cache, capsys):
    ready()
    assert data("prepare", "corpus", "--vocab-size", "310") == 0
    first, second = entries(cache)
    path = first.folder / "train-00000.bin"
    stamp = path.stat()
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    capsys.readouterr()
    assert data("verify") == 1
    out = capsys.readouterr().out
    assert "train-00000.bin cannot be used: its content does not match its checksum" in out
    assert f"{second.key}: every byte is right" in out
    assert data("verify", second.key) == 0


def test_delete_frees_one_folder_and_refuses_to_guess(cache, capsys):
    ready()
    assert data("prepare", "corpus", "--vocab-size", "310") == 0
    first, second = entries(cache)
    for action in ("delete", "describe"):
        assert data(action) == 2
        assert "name a KEY; `adana data list` shows them" in capsys.readouterr().err
    assert data("delete", "nothing at all") == 2
    assert "expected one" in capsys.readouterr().err
    assert data("delete", first.key[:7]) == 2
    assert "give at least 8 digits of the KEY" in capsys.readouterr().err
    assert entries(cache) == [first, second]
    assert data("delete", first.key[:8]) == 0
    assert entries(cache) == [second]


def test_flags_make_the_configuration():
    assert DataFlags().data_config() == DataConfig()
    assert DataFlags(vocab_size=300).data_config().vocab_size == 300
    assert DataFlags(vocab_size=50304, tokenizer="gpt2").data_config() == DataConfig(
        tokenizer="gpt2"
    )
    assert DataFlags(vocab_size=50304, tokenizer="gpt2").model_vocab_size() == 50304
    assert DataFlags().model_vocab_size() == DataConfig.vocab_size


def test_on_a_terminal_a_bar_shows_the_rate(cache, monkeypatch):
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=160)
    prepare.prepare_with_bar(DataConfig("corpus", 300), console)
    assert "data: corpus, " in written.getvalue()


def test_without_a_terminal_a_stage_is_one_line_until_it_lasts(monkeypatch):
    written = io.StringIO()
    clock = iter(range(0, 1000, 8))
    monkeypatch.setattr(prepare.time, "monotonic", lambda: next(clock))
    lines = prepare._Lines(Console(file=written, width=200))
    for number in range(7):
        lines(f"turning text into tokens: {number}", number / 7)
    said = written.getvalue().split("\n")[:-1]
    assert said == [f"data: turning text into tokens: {number}" for number in (0, 3, 6)]


def key_of_only(cache):
    (entry,) = entries(cache)
    return entry.key


def test_prepared_tokens_are_a_corpus_by_their_key(cache, capsys):
    ready()
    key = key_of_only(cache)
    shutil.rmtree("corpus")
    assert data("list") == 0
    assert "adana train --data KEY" in capsys.readouterr().out
    assert data("prepare", key[:8]) == data("--data", key) == 0
    assert "corpus  corpus, " in capsys.readouterr().out
    assert data("prepare", "corpus", "--vocab-size", "300") == 2
    assert re.search(rf"are in the cache: {key} of .*--data {key}", capsys.readouterr().err)
    assert data("prepare", "0" * 8) == 2
    assert "there is none at all" in capsys.readouterr().err


def test_flags_beside_a_key_are_those_the_tokens_were_made_with(cache):
    ready("--validation-fraction", "0.2", "--limit-documents", "50")
    key = key_of_only(cache)
    flags = DataFlags(key[:9])
    assert (flags.data, flags.vocab_size, flags.limit_documents) == (key, 300, 50)
    assert flags.data_config() == DataConfig(
        "corpus", 300, validation_fraction=0.2, limit_documents=50, prepared=key
    )
    assert DataFlags(key[:9], vocab_size=300, tokenizer="auto") == flags
    assert flags.model_vocab_size() == 300
    for name, value in {"vocab_size": 301, "limit_tokens": 9, "bad_rows": "skip"}.items():
        flag = name.replace("_", "-")
        with pytest.raises(ValueError, match=f"--{flag} {value} does not go with --data {key[:9]}"):
            DataFlags(key[:9], **{name: value})


def test_a_training_by_key_is_the_same_run_and_reads_no_text(cache, tmp_path):
    small = ["--steps", "2", "--batch-size", "2", "--sequence-length", "32", "--heads", "1"]
    small += ["--head-dim", "16", "--layers", "1", "--eval-tokens", "64", "--lr", "0.01"]
    small += ["--vocab-size", "300"]

    def train(*arguments):
        with pytest.raises(SystemExit) as exit_:
            main(("train", *small, *arguments))
        assert exit_.value.code == 0
        (run,) = (tmp_path / arguments[-1]).iterdir()
        return run.name, json.loads((run / "config.json").read_text())

    name, by_path = train("--data", "corpus", "--runs", "a")
    key = key_of_only(cache)
    shutil.rmtree("corpus")
    again, by_key = train("--data", key[:8], "--runs", "b")
    assert again == name
    assert by_key["data"].pop("prepared") == key
    assert by_path["data"].pop("prepared") is None
    assert by_key["data"] == by_path["data"]


def test_a_vocabulary_below_that_of_the_tokenizer_is_refused_before_anything_is_made(cache, capsys):
    tokenizer = train_tokenizer(["some words " * 50, "and others, too " * 50], 265)
    with open("tok.json", "w") as file:
        file.write(tokenizer.to_json())
    given = ("prepare", "corpus", "--tokenizer", "tok.json", "--vocab-size")
    assert data(*given, "264") == 2
    says = "--vocab-size 264 is less than the 265 tokens of the tokenizer 'tok.json'"
    assert says in capsys.readouterr().err
    assert not cache.exists()
    assert data(*given, "265") == 0
    with pytest.raises(ValueError, match="--vocab-size 50000 is less than the 50257"):
        DataFlags(tokenizer="gpt2", vocab_size=50_000).model_vocab_size()


def test_bad_rows_can_be_skipped_and_the_refusal_says_so(cache, capsys):
    with open("corpus/bad.txt", "wb") as file:
        file.write(b"caf\xe9")
    assert data("prepare", "corpus", "--vocab-size", "300") == 2
    assert "--bad-rows skip" in capsys.readouterr().err
    ready("--bad-rows", "skip")
    out = capsys.readouterr().out
    assert "note  1 row or file that is no text left out, the first is bad.txt" in out


@pytest.mark.parametrize("terminal", [True, False])
def test_a_console_that_breaks_does_not_end_a_preparation(cache, terminal, capsys):
    class Broken(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    console = Console(file=Broken(), force_terminal=terminal)
    shards = prepare.prepare_with_bar(DataConfig("corpus", 300), console)
    assert shards.folder.parent == cache


@pytest.mark.parametrize("there", [True, False])
def test_auto_is_the_tokenizer_that_can_be_had(there, monkeypatch, capsys):
    def ready_made(name):
        if not there:
            raise Unreachable("GPT-2's is not here. Use another.")

    data_flags._found_tokenizer.cache_clear()
    monkeypatch.setattr("adana.data.tokenizer.ready_made", ready_made)
    flags = DataFlags(tokenizer="auto")
    assert flags.tokenizer == flags.data_config().tokenizer == ("gpt2" if there else "trained")
    DataFlags(tokenizer="auto")
    said = capsys.readouterr().err
    words = "GPT-2's" if there else "one trained on the corpus, because GPT-2's is not here"
    assert said == f"data: --tokenizer auto is {words}\n"


def test_auto_is_refused_where_ranks_might_disagree(monkeypatch):
    data_flags._found_tokenizer.cache_clear()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="say gpt2 or trained"):
        DataFlags(tokenizer="auto")
