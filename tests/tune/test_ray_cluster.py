"""What can be said of the Ray engine without a cluster."""

import signal
import socket

import pytest

from adana.tune import RayEngine
from adana.tune.ray_job import _engine


@pytest.fixture
def nobody():
    """An address of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.parametrize("scheme", ["", "ray://"])
@pytest.mark.parametrize("given", [True, False])
def test_an_address_where_nobody_listens_is_named_in_the_error(monkeypatch, nobody, scheme, given):
    pytest.importorskip("ray", reason='needs ray: pip install "adana[ray]"')
    address = scheme + nobody
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1" if given else address)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ConnectionError, match=f"no Ray cluster at {address}: .*ray start --head"):
        RayEngine(address if given else None)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_is_used_again_only_for_the_gpus_that_it_sees(monkeypatch):
    monkeypatch.setattr("adana.tune.ray_job._ENGINES", {})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    none = _engine()
    assert _engine() is none
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    first = _engine()
    assert first is not none
    assert _engine() is first
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert _engine() is not first
