"""What only a GPU shows of the fused steps: skipped where there is none.

The kernels' arithmetic is tested everywhere, in Triton's interpreter (`test_triton.py`).
"""

import importlib.util

import pytest
import torch

import adana
from adana.optim.kernel import triton_launch

from .conftest import CONFIGURATIONS, close

pytestmark = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="no Triton"),
]
SIZES = [(0,), (), (1023,), (4097,), (64, 48), (1 << 20,)]


@pytest.fixture
def launches(monkeypatch):
    """The number of tensors of each call of the kernel, so that no test passes without it."""
    found, launch = [], triton_launch.launch

    def counted(step, rows, numbers, device):
        found.append(len(rows))
        return launch(step, rows, numbers, device)

    monkeypatch.setattr(triton_launch, "launch", counted)
    return found


def parameters(dtype=torch.float32):
    """Parameters of all sizes, and two views that are not aligned."""
    generator = torch.Generator().manual_seed(0)
    tensors = [torch.randn(size, generator=generator).to("cuda", dtype) for size in SIZES]
    tensors += [torch.randn(6000, generator=generator).to("cuda", dtype)[a:] for a in (1, 3)]
    return [torch.nn.Parameter(x) for x in tensors]


def set_gradients(params, step):
    """Give the parameters gradients that depend on the step alone, in memory of their own."""
    for i, p in enumerate(params):
        generator = torch.Generator().manual_seed(1000 * step + i)
        p.grad = torch.randn(p.shape, generator=generator).to("cuda", p.dtype)


def trained(make, params, steps=3, **overrides):
    optimizer = make(params, **overrides)
    for step in range(steps):
        set_gradients(params, step)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("name", list(CONFIGURATIONS))
def test_every_configuration_agrees_with_the_eager_update(name, launches):
    make = CONFIGURATIONS[name]
    fused, eager = parameters(), parameters()
    ours, theirs = trained(make, fused, fused=True), trained(make, eager, fused=False)
    assert len(launches) == 3
    assert close(fused, eager, 3e-6)
    for p, q in zip(fused, eager, strict=True):
        ours_too, theirs_too = ours.state[p], theirs.state[q]
        assert close(ours_too.values(), theirs_too.values(), 3e-6)


@pytest.mark.parametrize("states", ["fp32", "bf16_sr", "fp24", "log16"])
def test_coded_states_agree_but_for_ties_of_rounding(states, launches):
    runs = []
    for fused in (True, False):
        params = parameters(torch.bfloat16)
        trained(adana.DanaStar, params, lr=1e-2, state_dtype=states, fused=fused)
        runs.append(torch.cat([p.detach().float().flatten() for p in params]))
    assert len(launches) == 3
    assert (runs[0] != runs[1]).float().mean() < 0.02
    torch.testing.assert_close(runs[0], runs[1], rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("states", ["fp32", "log16"])
def test_alignment_never_changes_a_bit(states, launches):
    results = []
    for offset in (0, 1):
        generator = torch.Generator().manual_seed(0)
        p = torch.randn(5000, generator=generator).to("cuda")
        room = torch.zeros(5008, device="cuda")
        room[offset : 5000 + offset] = p
        params = [torch.nn.Parameter(room[offset : 5000 + offset])]
        trained(adana.DanaStar, params, lr=1e-2, state_dtype=states, fused=True)
        results.append(params[0].detach().clone())
    assert len(launches) == 6
    assert torch.equal(*results)


def test_a_step_waits_for_nothing(launches):
    params = parameters(torch.bfloat16)
    optimizer = adana.DanaStar(params, lr=1e-2, state_dtype="log16", fused=True)
    for step in range(6):
        set_gradients(params, step)
        torch.cuda.set_sync_debug_mode("default" if step == 0 else "error")
        try:
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    assert len(launches) == 6


def test_steps_on_another_stream_find_the_tables_of_the_first(launches):
    fused, eager = parameters(), parameters()
    ours = adana.ADana(fused, lr=1e-2, fused=True)
    theirs = adana.ADana(eager, lr=1e-2, fused=False)
    set_gradients(fused, 0)
    set_gradients(eager, 0)
    other = torch.cuda.Stream()
    for k in range(4):
        stream = other if k % 2 else torch.cuda.current_stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            ours.step()
        torch.cuda.current_stream().wait_stream(stream)
        theirs.step()
    assert len(launches) == 4
    assert close(fused, eager, 3e-6)


@pytest.mark.parametrize("states", ["fp32", "log16"])
def test_a_captured_step_goes_on_as_an_eager_one_does(states, launches):
    """Gradients stay where they are; counters, numbers and keys move on the device."""
    captured, eager = parameters(), parameters()
    settings = {"lr": 1e-2, "capturable": True, "fused": True, "state_dtype": states}
    ours, theirs = adana.DanaStar(captured, **settings), adana.DanaStar(eager, **settings)
    set_gradients(captured, 0)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        ours.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        ours.step()
    for step in range(1, 5):
        for i, p in enumerate(captured):
            generator = torch.Generator().manual_seed(1000 * step + i)
            p.grad.copy_(torch.randn(p.shape, generator=generator))
        graph.replay()
    for step in range(5):
        set_gradients(eager, step)
        theirs.step()
    assert len(launches) == 2 + 5
    assert all(torch.equal(p, q) for p, q in zip(captured, eager, strict=True))


def test_a_graph_of_backward_and_step_replays_with_gradients_made_inside_it(launches):
    """The gradients' addresses are known only while it is captured."""
    torch.manual_seed(0)
    models = [torch.nn.Linear(64, 64, device="cuda") for _ in range(2)]
    models[1].load_state_dict(models[0].state_dict())
    batches = torch.randn(6, 8, 64, device="cuda")
    settings = {"lr": 1e-2, "capturable": True, "fused": True}
    optimizers = [adana.ADana(model.parameters(), **settings) for model in models]

    def train(k, x):
        optimizers[k].zero_grad(set_to_none=True)
        models[k](x).square().mean().backward()
        optimizers[k].step()

    x = batches[0].clone()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        train(0, x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        train(0, x)
    train(1, batches[0])
    for k in range(1, 6):
        x.copy_(batches[k])
        graph.replay()
        train(1, batches[k])
        for _ in range(3):  # other tables must not take the memory of the graph's
            torch.full((4096,), -1, device="cuda")
    assert launches
    assert close(models[0].parameters(), models[1].parameters(), 1e-6)


def test_capturing_numbers_that_would_never_change_is_refused(launches):
    params = parameters()
    optimizer = adana.ADana(params, lr=1e-2, fused=True)
    set_gradients(params, 0)
    optimizer.step()
    with (
        pytest.raises(RuntimeError, match="capturable=True"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        optimizer.step()
    assert launches


@pytest.mark.slow
def test_tensors_of_more_than_two_to_the_31_elements_are_updated_to_their_end(launches):
    size = (1 << 31) + 4099
    if torch.cuda.get_device_properties(0).total_memory < 40 << 30:
        pytest.skip("needs 40 GB of GPU memory")
    settings = {"lr": 1e-2, "fused": True, "bf16_weights": "nearest"}
    large = torch.nn.Parameter(torch.ones(size, dtype=torch.bfloat16, device="cuda"))
    small = torch.nn.Parameter(torch.ones(6000, dtype=torch.bfloat16, device="cuda"))
    gradient = torch.randn(6000, device="cuda").to(torch.bfloat16)
    large.grad = torch.ones_like(large)
    large.grad[-6000:] = gradient
    small.grad = gradient
    for p in (large, small):
        adana.ADana([p], **settings).step()
    assert len(launches) == 2
    assert torch.equal(large[-6000:], small)


def test_shards_are_updated_as_the_tensors_they_are_of(launches, tmp_path):
    import torch.distributed as dist  # noqa: PLC0415
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh  # noqa: PLC0415

    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cuda", (1,))
        whole = parameters()[4:6]
        settings = {"lr": 1e-2, "fused": True, "state_dtype": "log16"}
        sharded = [torch.nn.Parameter(distribute_tensor(p.data, mesh, [Shard(0)])) for p in whole]
        ours, theirs = adana.ADana(sharded, **settings), adana.ADana(whole, **settings)
        for step in range(3):
            set_gradients(whole, step)
            for p, q in zip(sharded, whole, strict=True):
                p.grad = distribute_tensor(q.grad, mesh, [Shard(0)])
            ours.step()
            theirs.step()
        assert len(launches) == 6
        assert all(torch.equal(p.full_tensor(), q) for p, q in zip(sharded, whole, strict=True))
    finally:
        dist.destroy_process_group()
