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
