"""What is kept of the tables on devices; the device is a pretended one."""

import pytest
import torch

from adana.optim.kernel import uploads

DEVICE = torch.device("meta")


class Stream:
    """A stream that remembers what it waited for."""

    def __init__(self):
        self.waited = []

    def record_event(self):
        return self

    def wait_event(self, event):
        self.waited.append(event)


@pytest.fixture
def pretended(monkeypatch):
    """A device with one stream, pinned memory that is not, and a switch for captures."""
    state = {"stream": Stream(), "capturing": False}
    monkeypatch.setattr(uploads, "capturing", lambda device: state["capturing"])
    monkeypatch.setattr(uploads, "pinned", torch.empty_like)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: state["stream"])
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda x, stream: None)
    return state


def table(size=3):
    return torch.arange(size)


def test_a_table_is_uploaded_once_while_it_is_asked_for(pretended):
    tables = uploads.Tables()
    first = tables.get("a", table, DEVICE, "room")
    assert first.device == DEVICE
    assert tables.get("a", pytest.fail, DEVICE, "room") is first
    assert tables.get("b", table, DEVICE, "room") is not first


def test_tables_that_nobody_asks_for_are_dropped(pretended):
    tables = uploads.Tables()
    first = tables.get("first", table, DEVICE, "room")
    for k in range(uploads.KEPT):
        tables.get("used", table, DEVICE, "room")
        tables.get(k, table, DEVICE, "room")
    assert len(tables.kept) == uploads.KEPT
    assert tables.get("first", table, DEVICE, "room") is not first
    assert tables.get("used", pytest.fail, DEVICE, "room") is not None


def test_another_stream_waits_for_the_upload_once_it_uses_it(pretended):
    tables = uploads.Tables()
    tables.get("a", table, DEVICE, "room")
    first, pretended["stream"] = pretended["stream"], Stream()
    tables.get("a", table, DEVICE, "room")
    assert pretended["stream"].waited == [first]
    assert first.waited == []


def test_a_capture_keeps_what_it_uses_and_leaves_nothing_that_only_replays_fill(pretended):
    tables = uploads.Tables()
    before = tables.get("a", table, DEVICE, "room")
    pretended["capturing"] = True
    assert tables.get("a", table, DEVICE, "room") is before
    inside = tables.get("b", table, DEVICE, "room")
    pretended["capturing"] = False
    assert tables.get("b", table, DEVICE, "room") is not inside
    host = next(x for x in tables.captured if x.device.type == "cpu")
    assert host.tolist() == [0, 1, 2]
    assert any(x is before for x in tables.captured)
    assert any(x is inside for x in tables.captured)


def test_numbers_of_one_step_are_not_captured(pretended):
    pretended["capturing"] = True
    with pytest.raises(RuntimeError, match="capturable=True"):
        uploads.sent(torch.zeros(3), DEVICE)
    on_device = torch.zeros(3, device=DEVICE)
    assert uploads.sent(on_device, DEVICE) is on_device


def test_the_tables_of_many_released_parameters_are_all_kept(pretended):
    """Each is updated by itself, in turn: the least recently used is the next to be asked for."""
    tables = uploads.Tables()
    several = [(parameter, k) for parameter in range(400) for k in range(3)]
    first = [tables.get(key, table, DEVICE, "room") for key in several]
    again = [tables.get(key, pytest.fail, DEVICE, "room") for key in several]
    assert all(x is y for x, y in zip(first, again, strict=True))


def test_large_tables_are_dropped_sooner(pretended):
    tables = uploads.Tables()
    size = uploads.KEPT_BYTES // 4 // 8
    for k in range(2 * uploads.FEWEST):
        tables.get(k, lambda: table(size), DEVICE, "room")
    assert len(tables.kept) == uploads.FEWEST
    assert tables.bytes == sum(x.tensor.nbytes for x in tables.kept.values())
    for k in range(2 * uploads.FEWEST):
        tables.get(("small", k), table, DEVICE, "room")
    assert len(tables.kept) > uploads.FEWEST
    assert tables.bytes <= uploads.KEPT_BYTES


def test_after_a_step_every_capture_finds_pinned_memory(pretended, monkeypatch):
    tables = uploads.Tables()
    tables.get("a", table, DEVICE, "room")
    for k in range(3):
        pretended["capturing"] = True
        with monkeypatch.context() as during:
            during.setattr(uploads, "pinned", lambda like: pytest.fail("allocated in a capture"))
            tables.get(k, table, DEVICE, "room")
        pretended["capturing"] = False
        tables.get("a", pytest.fail, DEVICE, "room")
