"""Rows and files that are no text: refused by name, or left out and counted."""

import json
import os

import numpy as np
import pytest
from tests.data.interrupted import prepare_until_interrupted

from adana.data import CorpusError, DataConfig, ShardError, entries, prepare, sources
from adana.data import build as build_module
from adana.data.bad_rows import BadDocument, tolerated
from adana.data.documents import Document
from adana.data.errors import BadText
from adana.data.sources import hub, open_text

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "kappa", "omega", "tau", "eta"]


def texts(count):
    choose = np.random.default_rng(0)
    return [f"{i} " + " ".join(choose.choice(WORDS, 60)) for i in range(count)]


def lines_of(rows):
    return [json.dumps({"text": text}) for text in rows]


@pytest.fixture
def streamed(monkeypatch):
    """Take every file of rows for a large one, and small batches for large ones."""
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", 0)
    monkeypatch.setattr(build_module, "BATCH_BYTES", 2000)
    monkeypatch.setattr(build_module, "SAMPLE_BYTES", 20_000)


def told_by(config, cache):
    told = []
    return prepare(config, cache, lambda stage, _: told.append(stage), shard_tokens=1000), told


BAD_LINES = [
    "{broken",
    '{"body": "x"}',
    '{"text": 3}',
    '{"text": "\\ud800"}',
    b'{"text": "caf\xe9"}',
]


@pytest.mark.parametrize("bad", BAD_LINES)
@pytest.mark.parametrize("listed", [0, 1 << 30])
def test_bad_rows_are_skipped_and_counted_where_that_is_asked_for(
    tmp_path, monkeypatch, bad, listed
):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    rows = [line.encode() for line in lines_of(texts(300))]
    good, path = tmp_path / "good.jsonl", tmp_path / "x.jsonl"
    good.write_bytes(b"\n".join(rows))
    bad = bad if isinstance(bad, bytes) else bad.encode()
    path.write_bytes(b"\n".join([*rows[:200], bad, *rows[200:250], b"", bad, *rows[250:]]))
    with pytest.raises(CorpusError, match=r"x\.jsonl.*--bad-rows skip"):
        prepare(DataConfig(str(path), 280, 0.2), tmp_path / "cache")
    config = DataConfig(str(path), 280, 0.2, bad_rows="skip")
    shards = prepare(config, tmp_path / "cache")
    assert shards.manifest["corpus"]["notes"] == [
        "2 rows or files that are no text left out, the first is x.jsonl:201",
        "1 empty document left out",
    ]
    assert prepare(config, tmp_path / "cache").manifest == shards.manifest
    same = prepare(DataConfig(str(good), 280, 0.2), tmp_path / "other")
    assert shards.fingerprint == same.fingerprint


@pytest.mark.parametrize("bad_rows", ["refuse", "skip"])
@pytest.mark.parametrize("listed", [0, 1 << 30])
def test_bad_files_of_a_folder_are_named_or_skipped(tmp_path, monkeypatch, bad_rows, listed):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "a.jsonl").write_text("\n".join(lines_of(texts(100))))
    for number, text in enumerate(texts(400)[100:]):
        (folder / f"{number}.txt").write_text(text)
    bad = {
        "latin.txt": lambda path: path.write_bytes(b"caf\xe9 au lait"),
        "wide.md": lambda path: path.write_bytes("wide words\n".encode("utf-16-le")),
        "gone.txt": lambda path: path.symlink_to("nowhere"),
        "gone.jsonl": lambda path: path.symlink_to("nowhere"),
    }
    config = DataConfig(str(folder), 280, 0.2, bad_rows=bad_rows)
    if bad_rows == "refuse":
        for name, make in bad.items():
            make(folder / name)
            with pytest.raises(CorpusError, match=rf"{name}.*--bad-rows skip"):
                prepare(config, tmp_path / "cache")
            (folder / name).unlink()
        return
    for name, make in bad.items():
        make(folder / name)
    notes = prepare(config, tmp_path / "cache").manifest["corpus"]["notes"]
    assert notes == ["4 rows or files that are no text left out, the first is gone.jsonl"]


@pytest.mark.usefixtures("streamed")
def test_a_late_bad_row_costs_nothing_once_it_is_skipped(tmp_path):
    rows, path, cache = lines_of(texts(400)), tmp_path / "x.jsonl", tmp_path / "cache"
    path.write_text("\n".join([*rows[:350], "{broken", *rows[350:]]))
    config = DataConfig(str(path), 280, 0.2)
    with pytest.raises(CorpusError, match=r"line 351.*--bad-rows skip.*What is done is kept.*with"):
        prepare(config, cache, shard_tokens=1000)
    (left,) = entries(cache)
    assert "unfinished" in left.state
    skipping = DataConfig(str(path), 280, 0.2, bad_rows="skip")
    shards, told = told_by(skipping, cache)
    assert any("going on after 3" in stage for stage in told)
    assert not any("training a tokenizer" in stage for stage in told)
    assert os.listdir(cache) == [shards.folder.name]
    whole = prepare(skipping, tmp_path / "whole", shard_tokens=1000)
    assert shards.fingerprint == whole.fingerprint
    assert shards.manifest["corpus"] == whole.manifest["corpus"]
    assert shards.folder.name == whole.folder.name
    path.write_text("\n".join(rows))
    mended = prepare(config, cache, shard_tokens=1000)
    assert mended.fingerprint == shards.fingerprint


@pytest.mark.usefixtures("streamed")
def test_a_bad_row_before_anything_was_done_leaves_nothing(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(["{broken", *lines_of(texts(100))]))
    with pytest.raises(CorpusError, match=r"line 1: not valid JSON") as caught:
        prepare(DataConfig(str(path), 280, 0.2), tmp_path / "cache")
    assert "What is done is kept" not in str(caught.value)
    assert os.listdir(tmp_path / "cache") == []


@pytest.mark.usefixtures("streamed")
def test_the_count_of_bad_rows_outlives_an_interruption(tmp_path):
    rows, path, cache = lines_of(texts(400)), tmp_path / "x.jsonl", tmp_path / "cache"
    path.write_text("\n".join([*rows[:10], "{", *rows[10:300], "{", *rows[300:], "{"]))
    config = DataConfig(str(path), 280, 0.2, bad_rows="skip")
    prepare_until_interrupted(config, cache)
    shards, told = told_by(config, cache)
    assert any("going on after" in stage for stage in told)
    assert shards.manifest["corpus"]["notes"] == [
        "3 rows or files that are no text left out, the first is x.jsonl:11"
    ]
    assert shards.manifest["corpus"]["documents"] == 400


@pytest.mark.parametrize("listed", [0, 1 << 30])
def test_too_many_bad_rows_mean_that_the_format_is_wrong(tmp_path, monkeypatch, listed):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    rows, path = lines_of(texts(1100)), tmp_path / "x.jsonl"
    config = DataConfig(str(path), 280, 0.2, bad_rows="skip")
    says = (
        r"12 of the first 1112 rows.*another format.*--text-field is wrong.*"
        r"The first of them: .*x\.jsonl, line 1101: "
    )
    path.write_text("\n".join([*rows, *["{"] * 12]))
    with pytest.raises(CorpusError, match=says):
        prepare(config, tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*/journal.json"))
    wrong = DataConfig(str(path), 280, 0.2, text_field="body", bad_rows="skip")
    with pytest.raises(CorpusError, match=r"101 of the first 101 rows.*no string field"):
        prepare(wrong, tmp_path / "cache")


@pytest.mark.parametrize(
    ("good", "bad", "fine"),
    [(1, 1, True), (1, 2, False), (20, 10, True), (20, 11, False), (9900, 100, True)],
)
def test_a_few_bad_ones_are_tolerated_however_few_there_are(good, bad, fine):
    documents = [Document("good", "x")] * good + [BadDocument("bad", "")] * bad
    if fine:
        assert len(list(tolerated(documents, "x"))) == good + bad
        return
    with pytest.raises(CorpusError, match=f"{bad} of the first {good + bad} rows"):
        list(tolerated(documents, "x"))


def test_bad_rows_close_together_are_tolerated_in_a_large_corpus():
    documents = [BadDocument("bad", "")] * 90 + [Document("good", "x")] * 9000
    assert len(list(tolerated(documents, "x"))) == 9090


def test_rows_of_the_hub_without_text_are_refused_or_skipped(monkeypatch):
    rows = [{"text": "one"}, {"text": 3}, {"body": "x"}, {"text": None}, {"text": "two"}]
    monkeypatch.setattr(hub, "_ask", lambda path, full: hub_answer())
    monkeypatch.setattr(hub, "_load", lambda *_: rows)
    with pytest.raises(BadText, match=r"document 2: no text in the field.*--bad-rows skip"):
        list(open_text(DataConfig("hub:owner/name")).read(None))
    skipping = open_text(DataConfig("hub:owner/name", bad_rows="skip"))
    assert skipping.fingerprint == open_text(DataConfig("hub:owner/name")).fingerprint
    found = list(skipping.read(None))
    assert [document.text for document in found] == ["one", "", "", "", "two"]
    assert [isinstance(document, BadDocument) for document in found] == [0, 1, 1, 0, 0]


def hub_answer():
    return type("About", (), {"sha": "abc", "card_data": None})()


@pytest.mark.libraries
def test_rows_of_parquet_that_are_not_utf8_are_skipped(tmp_path):
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install adana[data]")
    from pyarrow import parquet  # noqa: PLC0415

    rows = [text.encode() for text in texts(100)]
    column = pyarrow.array([*rows[:50], b"caf\xe9", *rows[50:]], type=pyarrow.binary())
    parquet.write_table(pyarrow.table({"text": column.view("string")}), tmp_path / "x.parquet")
    config = DataConfig(str(tmp_path / "x.parquet"), 280, 0.2, bad_rows="skip")
    assert prepare(config, tmp_path / "cache").manifest["corpus"]["notes"] == [
        "1 row or file that is no text left out, the first is x.parquet:51"
    ]


def test_only_the_two_ways_are_known():
    with pytest.raises(ValueError, match="bad_rows must be refuse or skip, got 'keep'"):
        DataConfig(bad_rows="keep")


@pytest.mark.usefixtures("streamed")
def test_what_was_taken_over_in_part_is_taken_over_whole_the_next_time(tmp_path, monkeypatch):
    rows, path, cache = lines_of(texts(200)), tmp_path / "x.jsonl", tmp_path / "cache"
    path.write_text("\n".join([*rows, "{"]))
    with pytest.raises(CorpusError, match="What is done is kept"):
        prepare(DataConfig(str(path), 280, 0.2), cache, shard_tokens=1000)
    rename = os.rename

    def fails(source, target):
        if str(source).endswith("journal.json"):
            raise OSError(5, "Input/output error")
        rename(source, target)

    config = DataConfig(str(path), 280, 0.2, bad_rows="skip")
    with monkeypatch.context() as broken:
        broken.setattr(os, "rename", fails)
        with pytest.raises(ShardError, match="Input/output error"):
            prepare(config, cache, shard_tokens=1000)
    shards, told = told_by(config, cache)
    assert any("going on after" in stage for stage in told)
    assert shards.fingerprint == prepare(config, tmp_path / "x", shard_tokens=1000).fingerprint
