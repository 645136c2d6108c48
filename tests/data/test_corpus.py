import json
import os
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adana.data import documents as documents_module
from adana.data.documents import Document
from adana.data.errors import CorpusError
from adana.data.sources import read_corpus
from adana.data.split import PIECE_BYTES, _cut, split


def documents(count, length=400):
    return [Document(f"{i}.txt", f"document {i}\n" * (length // 12)) for i in range(count)]


def contents(part):
    return {document.text for document in part}


def test_python_corpus_is_the_standard_library_without_its_tests():
    corpus = read_corpus("python")
    names = [document.name for document in corpus.documents]
    assert "json/decoder.py" in names
    assert names == sorted(names)
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    assert not any(left_out & set(name.split("/")) for name in names)
    assert 5e6 < corpus.bytes < 40e6
    parts = split(corpus.documents)
    assert 0.025 <= parts.share <= 0.1


def test_python_corpus_counts_what_it_leaves_out(tmp_path, monkeypatch):
    (tmp_path / "good.py").write_text("a = 1\n")
    (tmp_path / "latin.py").write_bytes(b"# caf\xe9\n")
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    (tmp_path / "linked").symlink_to(tmp_path)
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    corpus = read_corpus("python")
    assert [document.name for document in corpus.documents] == ["good.py"]
    assert corpus.notes == [
        "1 linked folder not followed",
        "1 file that cannot be read left out",
        "1 file that is not UTF-8 text left out",
    ]


def test_python_corpus_without_sources_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    with pytest.raises(CorpusError, match=r"has no \.py files under"):
        read_corpus("python")


def test_folder_is_read_with_subfolders_and_only_known_suffixes(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / ".git").mkdir()
    for name in ("b.txt", "a.md", "sub/c.PY", "picture.png", ".hidden.txt", ".git/d.txt"):
        (tmp_path / name).write_text(name)
    corpus = read_corpus(str(tmp_path))
    assert [document.name for document in corpus.documents] == ["a.md", "b.txt", "sub/c.PY"]
    assert corpus.bytes == len("a.mdb.txtsub/c.PY")


def test_text_is_kept_byte_for_byte(tmp_path):
    data = "one\r\ntwo\rthree\n\n\x0c\u2028\ufeff\0end".encode()
    (tmp_path / "x.txt").write_bytes(data)
    assert read_corpus(str(tmp_path / "x.txt")).documents[0].text.encode() == data


def test_each_jsonl_line_is_a_document(tmp_path):
    rows = [{"text": "one\u2028still one\r\n"}, {"text": "two", "id": 3}]
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (tmp_path / "x.jsonl").write_text("\ufeff" + "\n\n".join(lines) + "\n", newline="")
    found = read_corpus(str(tmp_path / "x.jsonl")).documents
    assert [(document.name, document.text) for document in found] == [
        ("x.jsonl:1", "one\u2028still one\r\n"),
        ("x.jsonl:3", "two"),
    ]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('{"text": "cut', "not valid JSON"),
        ('{"body": "x"}', 'no string field "text"'),
        ('{"text": 3}', 'no string field "text"'),
        ('["text"]', 'no string field "text"'),
        ('{"text": "\\ud800"}', "surrogate"),
        ("[" * 100_000, "not valid JSON"),
    ],
)
def test_broken_jsonl_line_is_named(tmp_path, line, complaint):
    (tmp_path / "x.jsonl").write_text('{"text": "fine"}\n' + line + "\n")
    with pytest.raises(CorpusError, match=complaint) as caught:
        read_corpus(str(tmp_path))
    assert f"{tmp_path / 'x.jsonl'}, line 2" in str(caught.value)


def test_file_that_is_not_utf8_is_named_with_the_offset(tmp_path):
    (tmp_path / "x.txt").write_bytes(b"caf\xe9 au lait")
    with pytest.raises(CorpusError, match=r"x\.txt is not valid UTF-8: byte 0xe9 at offset 3"):
        read_corpus(str(tmp_path))


def test_a_byte_order_mark_before_utf8_is_no_part_of_the_text(tmp_path, monkeypatch):
    monkeypatch.setattr(documents_module, "BLOCK_BYTES", 1000)
    text = "".join(f"line {i} für alle\n" for i in range(3000))
    for name, data in {"plain": text.encode(), "marked": text.encode("utf-8-sig")}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.txt").write_bytes(data)
    plain, marked = (read_corpus(str(tmp_path / name)) for name in ("plain", "marked"))
    assert marked.fingerprint == plain.fingerprint
    assert marked.documents[0].text == text
    assert "".join(marked.documents[0].blocks()) == text
    pieces = [[piece.text for piece in _cut(c.documents[0])] for c in (plain, marked)]
    assert pieces[0] == pieces[1]
    (tmp_path / "empty.txt").write_bytes(b"\xef\xbb\xbf")
    with pytest.raises(CorpusError, match="has no text"):
        read_corpus(str(tmp_path / "empty.txt"))


@pytest.mark.parametrize(
    ("encoding", "advice"),
    [
        ("utf-16", "UTF-16, by the byte order mark.*iconv -f utf-16 -t utf-8"),
        ("utf-32", "UTF-32, by the byte order mark.*iconv -f utf-32 -t utf-8"),
        ("utf-16-le", "are NUL.*looks like text in UTF-16LE without.*iconv -f utf-16le"),
        ("utf-16-be", "are NUL.*looks like text in UTF-16BE without.*iconv -f utf-16be"),
        ("utf-32-le", "are NUL.*looks like text in UTF-32LE without.*iconv -f utf-32le"),
        ("utf-32-be", "are NUL.*looks like text in UTF-32BE without.*iconv -f utf-32be"),
    ],
)
@pytest.mark.parametrize("name", ["x.txt", "x.jsonl"])
def test_text_in_a_wide_encoding_is_named_with_the_way_to_convert_it(
    tmp_path, encoding, advice, name
):
    line = '{"text": "Some words, and привет.", "id": 1}\n'
    (tmp_path / name).write_bytes((line * 20).encode(encoding))
    with pytest.raises(CorpusError, match=advice) as caught:
        read_corpus(str(tmp_path))
    assert str(tmp_path / name) in str(caught.value)
    assert "latin1" not in str(caught.value)


def test_nul_bytes_are_refused_when_they_are_many(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"text " * 100 + b"\0\0\0\0")
    assert len(read_corpus(str(path)).documents) == 1
    path.write_bytes(b"text " * 100 + b"\0" * 40)
    with pytest.raises(CorpusError, match=r"x\.txt is not text.*40 of 540 bytes.*no text: move"):
        read_corpus(str(path))


def test_unreadable_file_is_named(tmp_path, monkeypatch):
    (tmp_path / "x.txt").write_text("secret")

    def deny(self, mode):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", deny)
    with pytest.raises(CorpusError, match=r"x\.txt cannot be read: Permission denied"):
        read_corpus(str(tmp_path))


@pytest.fixture
def _closed(tmp_path, monkeypatch):
    """A folder that may not be listed."""
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def deny(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", deny)


@pytest.mark.usefixtures("_closed")
def test_unreadable_subfolder_is_an_error_and_not_left_out(tmp_path):
    (tmp_path / "x.txt").write_text("open")
    with pytest.raises(CorpusError, match="closed cannot be read: Permission denied"):
        read_corpus(str(tmp_path))


@pytest.mark.usefixtures("_closed")
def test_a_package_folder_that_cannot_be_listed_is_left_out_and_counted(tmp_path, monkeypatch):
    (tmp_path / "good.py").write_text("a = 1\n")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    corpus = read_corpus("python")
    assert [document.name for document in corpus.documents] == ["good.py"]
    assert corpus.notes == ["1 folder that cannot be read left out"]


def test_broken_link_is_named(tmp_path):
    (tmp_path / "x.txt").symlink_to(tmp_path / "nowhere.txt")
    with pytest.raises(CorpusError, match="not a regular file"):
        read_corpus(str(tmp_path))


def test_linked_folders_are_counted_and_not_followed(tmp_path):
    (tmp_path / "x.txt").write_text("text")
    (tmp_path / "again").symlink_to(tmp_path)
    corpus = read_corpus(str(tmp_path))
    assert len(corpus.documents) == 1
    assert corpus.notes == ["1 linked folder not followed"]


def test_what_a_training_writes_below_its_own_text_is_no_part_of_it(tmp_path):
    (tmp_path / "x.txt").write_text("text")
    (tmp_path / "config.json").write_text("{}")  # of something else
    before = read_corpus(str(tmp_path))
    run, report = tmp_path / "runs" / "one", tmp_path / "report"
    (run / "checkpoints").mkdir(parents=True)
    report.mkdir()
    for path in (run / "config.json", run / "metrics.jsonl", run / "checkpoints" / "state.txt"):
        path.write_text('{"step": 0}')
    for name in ("report.html", "comparison.md"):
        (report / name).write_text("a report")
    after = read_corpus(str(tmp_path))
    assert [d.name for d in after.documents] == [d.name for d in before.documents] == ["x.txt"]
    assert after.notes[0] == "2 folders of runs and reports left out"


def test_files_of_other_kinds_are_counted_and_named(tmp_path):
    for name in ("x.txt", "a.rst", "b.rst", "c.jsonl.gz", "LICENSE", ".hidden.rst"):
        (tmp_path / name).write_text("text")
    assert read_corpus(str(tmp_path)).notes in (
        ["4 files of other kinds left out (.rst, .gz, no suffix)"],
        ["4 files of other kinds left out (.rst, no suffix, .gz)"],
    )
    for number in range(9):
        (tmp_path / f"x.kind{number}").write_text("text")
    assert read_corpus(str(tmp_path)).notes[0].endswith(", ...)")


def test_folder_named_like_a_text_file_is_a_folder(tmp_path):
    (tmp_path / "x.txt").mkdir()
    (tmp_path / "x.txt" / "y.txt").write_text("text")
    assert [document.name for document in read_corpus(str(tmp_path)).documents] == ["x.txt/y.txt"]


@pytest.mark.parametrize("source", ["", "no/such/place", "pyhton", "missing.txt"])
def test_missing_corpus_lists_what_is_accepted(source):
    with pytest.raises(CorpusError, match=r"does not exist.*python.*\.txt, \.md, \.py, \.jsonl"):
        read_corpus(source)


def test_empty_folder_and_unknown_kind_list_what_is_accepted(tmp_path):
    with pytest.raises(CorpusError, match=r"holds no files to read.*\.txt, \.md, \.py, \.jsonl"):
        read_corpus(str(tmp_path))
    (tmp_path / "x.pdf").write_text("text")
    with pytest.raises(CorpusError, match=r"not a kind of file.*\.txt, \.md, \.py, \.jsonl"):
        read_corpus(str(tmp_path / "x.pdf"))


def test_only_empty_documents_are_an_error(tmp_path):
    (tmp_path / "x.txt").write_text("")
    (tmp_path / "y.txt").write_text(" \n")
    with pytest.raises(CorpusError, match="has no text: 2 documents were read"):
        read_corpus(str(tmp_path))


def test_duplicates_and_empty_documents_are_left_out_and_counted(tmp_path):
    for name, text in {"a.txt": "one", "b.txt": "one", "c.txt": "two", "d.txt": ""}.items():
        (tmp_path / name).write_text(text)
    corpus = read_corpus(str(tmp_path))
    assert [document.name for document in corpus.documents] == ["a.txt", "c.txt"]
    assert corpus.notes == ["1 empty document left out", "1 exact duplicate left out"]


def test_fingerprint_depends_on_content_and_not_on_names(tmp_path):
    prints = []
    for number, files in enumerate([("a", "b"), ("b", "a"), ("a", "c")]):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, text in zip(("x.txt", "y.txt"), files, strict=True):
            (folder / name).write_text(text)
        prints.append(read_corpus(str(folder)).fingerprint)
    assert prints[0] == prints[1] != prints[2]


def test_split_depends_on_content_only():
    original = documents(200)
    renamed = [Document(f"new {d.name}", d.text) for d in reversed(original)]
    first, second = split(original, 0.1), split(renamed, 0.1)
    assert contents(first.train) == contents(second.train)
    assert [d.text for d in first.validation] == [d.text for d in second.validation]


def test_adding_documents_moves_no_other_document():
    before, after = split(documents(300), 0.1), split(documents(400), 0.1)
    assert contents(before.train) <= contents(after.train)
    assert contents(before.validation) <= contents(after.validation)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(max_size=30), min_size=2, max_size=30), st.floats(0.01, 0.5))
def test_no_validation_content_is_in_training(texts, fraction):
    found = [Document(str(number), text) for number, text in enumerate(texts)]
    try:
        parts = split(found, fraction)
    except CorpusError:
        return
    assert parts.train
    assert parts.validation
    assert not contents(parts.train) & contents(parts.validation)


def test_single_book_is_cut_into_pieces_and_the_notes_say_so():
    book = Document("book.txt", "".join(f"line {i} of the book\r\n" for i in range(20_000)))
    parts = split([book], 0.05)
    assert 0.03 < parts.share < 0.08
    assert "cut at line ends" in parts.notes[0]
    assert not contents(parts.train) & contents(parts.validation)
    assert sum(d.size for d in [*parts.train, *parts.validation]) == book.size


def test_one_large_document_in_validation_is_cut_too():
    for salt in range(20):
        found = [*documents(40), Document("big", "".join(f"{salt} {i}\n" for i in range(10_000)))]
        one_piece_more = 1.1 * PIECE_BYTES / sum(document.size for document in found)
        assert split(found, 0.05).share < 0.05 + one_piece_more


@settings(deadline=None)
@given(st.text(max_size=50), st.integers(0, 2000))
def test_pieces_joined_are_the_text(text, repeats):
    document = Document("x", text * repeats)
    assert "".join(piece.text for piece in _cut(document)) == document.text


def test_pieces_of_a_file_are_those_of_its_text_and_stay_on_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(documents_module, "BLOCK_BYTES", 10_000)
    text = "".join(f"Zeile {i} für\u2028alle\r\n{i}\r\x0c\n\n" * (i % 7) for i in range(3000))
    path = tmp_path / "x.txt"
    path.write_text(text, newline="")
    (listed,) = read_corpus(str(path)).documents
    pieces, expected = list(_cut(listed)), list(_cut(Document("x.txt", text)))
    assert [(p.name, p.size, p.digest) for p in pieces] == [
        (p.name, p.size, p.digest) for p in expected
    ]
    assert [piece.text for piece in pieces] == [piece.text for piece in expected]
    path.write_text(text.replace("2999", "3000"), newline="")
    with pytest.raises(CorpusError, match=r"x\.txt changed while"):
        _ = pieces[-1].text
    with pytest.raises(CorpusError, match=r"x\.txt changed while"):
        list(_cut(listed))


def test_a_large_file_is_listed_and_split_without_being_held(tmp_path, monkeypatch):
    monkeypatch.setattr(documents_module, "BLOCK_BYTES", 50_000)
    path = tmp_path / "book.txt"
    path.write_text("".join(f"{i} {'word ' * 50}\n" for i in range(6000)))
    tracemalloc.start()
    split(read_corpus(str(path)).documents, 0.1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < path.stat().st_size / 4


def test_line_longer_than_a_piece_is_cut_within_characters():
    parts = split([Document("x", "".join(chr(0x4E00 + i % 9000) for i in range(40_000)))])
    longest = max(d.size for d in [*parts.train, *parts.validation])
    assert longest <= 5 * PIECE_BYTES


def test_repeated_lines_do_not_put_most_of_the_text_into_validation():
    parts = split([Document("x", "the same line again\n" * 20_000)])
    assert 0 < parts.share <= 0.5


def test_corpus_too_small_to_split_is_an_error():
    with pytest.raises(CorpusError, match=r"too small to split: 6 bytes make 1 distinct piece"):
        split([Document("x", "short\n")])


@pytest.mark.parametrize("fraction", [0.0, -0.1, 0.6, float("nan")])
def test_fraction_out_of_range_is_an_error(fraction):
    with pytest.raises(ValueError, match="validation_fraction"):
        split(documents(10), fraction)
