"""Finding a Ray cluster that is there already, with errors that say what is missing."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

CONNECT_WITHIN = 10.0
"""Seconds that the head of a cluster has to answer; Ray itself waits for minutes."""


def load_ray() -> Any:
    """Return the module `ray`, or raise an `ImportError` that says how to install it."""
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise ImportError('the Ray engine needs Ray: pip install "adana[ray]"') from error


def connect(address: str | None) -> bool:
    """Connect this process to the cluster at `address`; return False if it already was to one.

    None is the cluster of RAY_ADDRESS, or the one that this machine belongs to.

    Raises:
        ImportError: Ray is not installed.
        ConnectionError: there is no such cluster.
    """
    ray = load_ray()
    if ray.is_initialized():
        return False
    address = address or os.environ.get("RAY_ADDRESS") or "auto"
    try:
        _check_reachable(address)
        with _handler_kept():
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, RuntimeError, ValueError) as error:
        where = "on this machine" if address == "auto" else f"at {address}"
        raise ConnectionError(
            f"no Ray cluster {where}: {str(error).splitlines()[0]}. "
            "Start one with `ray start --head`, or name its address."
        ) from error
    return True


def _check_reachable(address: str) -> None:
    """Raise `OSError` if nobody listens at HOST:PORT or ray://HOST:PORT."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_WITHIN).close()


@contextlib.contextmanager
def _handler_kept() -> Iterator[None]:
    """Put the handler of SIGTERM back, in whose place `ray.init` sets its own."""
    main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM) if main else None
    try:
        yield
    finally:
        if before is not None:
            signal.signal(signal.SIGTERM, before)
