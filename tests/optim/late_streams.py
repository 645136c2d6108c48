"""Streams that copy as late as they may, so that what is read or overwritten too early shows.

They stand in for CUDA's where there is none. The current stream does everything at once; the others
do nothing until somebody waits for them. What is freed too early does not show.
"""

import contextlib

import torch


class Stream:
    """Does what it was told when it is waited for."""

    active: list["Stream"] = []  # noqa: RUF012

    def __init__(self, device=None):
        self.told, self.done = [], 0

    def add(self, work):
        self.told.append(work)

    def run(self, end):
        while self.done < end:
            self.done += 1
            self.told[self.done - 1]()

    def record_event(self):
        return Event(self, len(self.told))

    def wait_event(self, event):
        self.add(event.synchronize)

    def wait_stream(self, other):
        self.wait_event(other.record_event())


class CurrentStream(Stream):
    """Does everything at once."""

    def add(self, work):
        super().add(work)
        self.run(len(self.told))


class Event:
    """A place in what a stream was told."""

    def __init__(self, stream, end):
        self.stream, self.end = stream, end

    def synchronize(self):
        self.stream.run(self.end)


@contextlib.contextmanager
def entered(stream):
    """Let copies be told to `stream`."""
    Stream.active.append(stream)
    try:
        yield
    finally:
        Stream.active.pop()


def install(monkeypatch):
    """Put them in the place of CUDA's."""
    current, at_once, like = CurrentStream(), torch.Tensor.copy_, torch.empty_like

    @torch.no_grad()
    def copy_(self, source, non_blocking=False):
        if not Stream.active:
            return at_once(self, source)
        assert non_blocking
        Stream.active[-1].add(torch.no_grad()(lambda: at_once(self, source)))
        return self

    def empty_like(x, *, pin_memory=False, **options):
        made = like(x, **options)
        return made.fill_(torch.nan) if pin_memory else made  # what is read too early

    monkeypatch.setattr(torch.Tensor, "copy_", copy_)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda x, stream: None)
    monkeypatch.setattr(torch, "empty_like", empty_like)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", entered)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: current)
