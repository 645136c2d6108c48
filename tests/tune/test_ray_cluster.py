"""What can be said of the Ray engine without a cluster."""

import signal
import socket
from types import SimpleNamespace

import pytest

from adana.tune import RayEngine
from adana.tune.ray_job import _engine


@pytest.fixture
def nobody():
    """An address of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.mark.libraries
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


NODES = [(2, 0, True), (2, 1, True), (2, 0, True), (16, 0, False)]
"""CPUs and GPUs of the nodes of a made-up cluster, and whether they live."""


@pytest.fixture
def four_nodes(monkeypatch):
    """A stand-in for ray that knows of a cluster; its jobs cannot run."""
    nodes = [{"Resources": {"CPU": c, "GPU": g}, "Alive": alive} for c, g, alive in NODES]
    total = {"CPU": sum(c for c, _, alive in NODES if alive), "GPU": 1}
    known = SimpleNamespace(nodes=lambda: nodes, cluster_resources=lambda: total)
    monkeypatch.setattr("adana.tune.ray_engine.load_ray", lambda: known)
    monkeypatch.setattr("adana.tune.ray_engine.connect", lambda address: False)


@pytest.mark.usefixtures("four_nodes")
def test_a_job_that_fits_no_living_node_is_refused_although_the_cluster_has_as_much():
    RayEngine(cpus_per_job=2, gpus_per_job=1)
    with pytest.raises(ValueError, match=r"needs 4 CPU on one node and the largest has 2"):
        RayEngine(cpus_per_job=4)
    RayEngine(cpus_per_job=1, devices_per_job=6)
    with pytest.raises(ValueError, match=r"needs 7 CPU and the whole cluster has 6"):
        RayEngine(cpus_per_job=1, devices_per_job=7)
    with pytest.raises(ValueError, match=r"needs 2 GPU on one node and the largest has 1"):
        RayEngine(gpus_per_job=2)


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
