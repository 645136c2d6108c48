"""Files of rows of which nothing can be read, or not all: one bad file, with its reason."""

import json

import numpy as np
import pytest
from tests.data.interrupted import prepare_until_interrupted

from adana.data import CorpusError, DataConfig, prepare, sources
from adana.data import build as build_module
from adana.data.bad_rows import BadDocument, RowRules
from adana.data.errors import BadText, Unavailable
from adana.data.sources import open_text, rows

WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "kappa", "omega", "tau", "eta"]
WAYS = pytest.mark.parametrize("listed", [0, 1 << 30])


def texts(count):
    choose = np.random.default_rng(0)
    return [f"{i} " + " ".join(choose.choice(WORDS, 60)) for i in range(count)]


def jsonl(path, rows, encoding="utf-8"):
    lines = (json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in rows)
    path.write_text("".join(lines), encoding=encoding)


def skipping(path):
    return DataConfig(str(path), 280, 0.2, bad_rows="skip")


@pytest.fixture
def folder(tmp_path):
    """A folder with 300 good rows."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    jsonl(folder / "b.jsonl", texts(300))
    return folder


# --- another encoding -----------------------------------------------------------------------------

WIDE = [
    ("utf-16", "is text in UTF-16, by the byte order mark"),
    ("utf-16-le", "It looks like text in UTF-16LE without"),
    ("utf-16-be", "It looks like text in UTF-16BE without"),
    ("utf-32", "is text in UTF-32, by the byte order mark"),
]


@WAYS
@pytest.mark.parametrize(("encoding", "says"), WIDE)
def test_jsonl_in_another_encoding_is_one_bad_file_with_its_reason(
    folder, tmp_path, monkeypatch, listed, encoding, says
):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    jsonl(folder / "a.jsonl", texts(60), encoding)
    with pytest.raises(BadText, match=rf"a\.jsonl .*{says}.*--bad-rows skip"):
        prepare(DataConfig(str(folder), 280, 0.2), tmp_path / "cache")
    shards = prepare(skipping(folder), tmp_path / "cache")
    assert shards.manifest["corpus"]["notes"] == [
        "1 row or file that is no text left out, the first is a.jsonl"
    ]
    with pytest.raises(CorpusError, match=rf"1 of the first 1 rows.*The first of them: .*{says}"):
        prepare(skipping(folder / "a.jsonl"), tmp_path / "cache")


def test_letters_whose_bytes_are_line_ends_do_not_hide_the_encoding(tmp_path):
    path = tmp_path / "x.jsonl"
    jsonl(path, ["上海" * 40, "马上" * 90] * 30, "utf-16-le")
    (document,) = rows.read(path, "x.jsonl", RowRules(skip_bad=True))
    assert isinstance(document, BadDocument)


def test_a_row_of_nuls_is_a_bad_row_among_good_ones(tmp_path):
    path = tmp_path / "x.jsonl"
    good = b'{"text": "good"}\n'
    path.write_bytes(b'{"text": "' + bytes(100) + b'"}\n' + 3 * good)
    found = list(rows.read(path, "x.jsonl", RowRules(skip_bad=True)))
    assert [isinstance(document, BadDocument) for document in found] == [1, 0, 0, 0]


def test_reading_goes_on_after_a_file_in_another_encoding(folder, monkeypatch):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", 0)
    jsonl(folder / "a.jsonl", texts(9), "utf-16")
    text = open_text(skipping(folder))
    reader = text.read(None)
    next(iter(reader))
    assert [document.text for document in text.read(reader.cursor())] == texts(300)


@pytest.mark.parametrize("indent", [None, 1])
def test_one_json_array_in_place_of_lines_is_called_so(tmp_path, indent):
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps([{"text": text} for text in texts(40)], indent=indent))
    says = r"line 1: this is a JSON array, write one object a line"
    with pytest.raises(CorpusError, match=says):
        prepare(DataConfig(str(path), 280, 0.2), tmp_path / "cache")
    with pytest.raises(CorpusError, match=rf"The first of them: .*{says}"):
        prepare(skipping(path), tmp_path / "cache")


# --- damaged parquet ------------------------------------------------------------------------------


@pytest.fixture
def parquet():
    """Write a parquet file of row groups of 100 rows and pages of about 20, compressed or not."""
    pyarrow = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install adana[data]")
    from pyarrow import parquet as module  # noqa: PLC0415

    def write(path, rows, compression="none"):
        options = {"compression": compression, "use_dictionary": False, "write_batch_size": 10}
        table = pyarrow.table({"text": rows})
        module.write_table(table, path, row_group_size=100, data_page_size=4000, **options)

    return write


def damage(path, group):
    """Write nonsense over the second half of a row group."""
    from pyarrow import parquet as module  # noqa: PLC0415

    column = module.ParquetFile(path).metadata.row_group(group).column(0)
    data = bytearray(path.read_bytes())
    begin = column.data_page_offset + column.total_compressed_size // 2
    end = column.data_page_offset + column.total_compressed_size
    data[begin:end] = b"\xff" * (end - begin)
    path.write_bytes(data)


@pytest.mark.libraries
@WAYS
@pytest.mark.parametrize("content", [b"", b"PAR1 not really PAR1"])
def test_unreadable_parquet_is_one_bad_file_with_its_reason(
    folder, tmp_path, monkeypatch, parquet, listed, content
):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    (folder / "a.parquet").write_bytes(content)
    with pytest.raises(BadText, match=r"a\.parquet is not a readable.*--bad-rows skip") as caught:
        prepare(DataConfig(str(folder), 280, 0.2), tmp_path / "cache")
    assert ".. " not in str(caught.value)
    assert prepare(skipping(folder), tmp_path / "cache").manifest["corpus"]["notes"] == [
        "1 row or file that is no text left out, the first is a.parquet"
    ]
    with pytest.raises(CorpusError, match=r"1 of the first 1 rows.*a\.parquet is not a readable"):
        prepare(skipping(folder / "a.parquet"), tmp_path / "cache")


@pytest.mark.libraries
@WAYS
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_of_parquet_that_breaks_off_the_rest_is_one_bad_file(
    folder, tmp_path, monkeypatch, parquet, listed, compression
):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", listed)
    path = folder / "a.parquet"
    parquet(path, [f"a{text}" for text in texts(400)], compression)
    damage(path, 2)
    with pytest.raises(BadText, match=r"a\.parquet is damaged after row 2\d\d: .*--bad-rows skip"):
        prepare(DataConfig(str(folder), 280, 0.2), tmp_path / "cache")
    found = list(rows.read(path, "a.parquet", RowRules(skip_bad=True)))
    assert 200 <= len(found) - 1 < 300
    assert [document.text for document in found[:-1]] == [f"a{text}" for text in texts(400)][
        : len(found) - 1
    ]
    notes = prepare(skipping(folder), tmp_path / "cache").manifest["corpus"]["notes"]
    assert notes == [
        f"1 row or file that is no text left out, the first is a.parquet from row {len(found)} on"
    ]


@pytest.mark.libraries
@pytest.mark.parametrize("group", [0, 1, 3])
def test_reading_goes_on_from_any_row_of_parquet_that_breaks_off(
    folder, monkeypatch, parquet, group
):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", 0)
    parquet(folder / "a.parquet", texts(400))
    damage(folder / "a.parquet", group)
    text = open_text(skipping(folder))
    names = [document.name for document in text.read(None)]
    bad = next(i for i, name in enumerate(names) if " from row " in name)
    for stop in (bad - 1, bad, bad + 1, bad + 2):
        if stop < 1:
            continue
        reader = text.read(None)
        each = iter(reader)
        first = [next(each).name for _ in range(stop)]
        cursor = json.loads(json.dumps(reader.cursor()))
        assert first + [document.name for document in text.read(cursor)] == names


@pytest.mark.libraries
def test_a_refused_breaking_off_costs_nothing_once_it_is_skipped(
    folder, tmp_path, monkeypatch, parquet
):
    monkeypatch.setattr(sources, "LISTED_ROW_BYTES", 0)
    monkeypatch.setattr(build_module, "BATCH_BYTES", 2000)
    monkeypatch.setattr(build_module, "SAMPLE_BYTES", 20_000)
    parquet(folder / "c.parquet", [f"c{text}" for text in texts(400)])
    damage(folder / "c.parquet", 2)
    with pytest.raises(CorpusError, match=r"damaged after row 2.*What is done is kept"):
        prepare(DataConfig(str(folder), 280, 0.2), tmp_path / "cache")
    told = []
    config = skipping(folder)
    shards = prepare(config, tmp_path / "cache", lambda stage, _: told.append(stage))
    assert any("going on after" in stage for stage in told)
    whole = prepare(config, tmp_path / "whole")
    assert shards.fingerprint == whole.fingerprint
    assert shards.manifest["corpus"] == whole.manifest["corpus"]
    prepare_until_interrupted(config, tmp_path / "stopped")
    again = prepare(config, tmp_path / "stopped", shard_tokens=1000)
    once = prepare(config, tmp_path / "once", shard_tokens=1000)
    assert (again.fingerprint, again.manifest) == (once.fingerprint, once.manifest)


@pytest.mark.libraries
def test_what_the_machine_lacks_is_no_damage_of_the_file(folder, monkeypatch, parquet):
    parquet(folder / "a.parquet", texts(400))

    def fails(error):
        def raising(*arguments, **options):
            raise error
            yield

        monkeypatch.setattr("pyarrow.parquet.ParquetFile.iter_batches", raising)
        return list(rows.read(folder / "a.parquet", "a.parquet", RowRules(skip_bad=True)))

    with pytest.raises(Unavailable, match="Input/output error"):
        fails(OSError(5, "Input/output error"))
    import pyarrow  # noqa: PLC0415

    with pytest.raises(MemoryError):
        fails(pyarrow.lib.ArrowMemoryError("malloc of size 1 failed"))
