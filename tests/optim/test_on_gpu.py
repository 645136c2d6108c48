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


# --- states on the host ---------------------------------------------------------------------------

both = pytest.mark.parametrize("gradients", [False, True], ids=["states", "gradients"])


@both
@pytest.mark.parametrize("name", [name for name in CONFIGURATIONS if name != "log-muon"])
def test_offloaded_steps_are_those_of_a_cpu_to_the_bit(name, gradients):
    there = parameters()
    here = [torch.nn.Parameter(p.detach().cpu()) for p in there]
    ours, theirs = CONFIGURATIONS[name](there), CONFIGURATIONS[name](here)
    adana.offload_states(ours, gradients=gradients)
    for step in range(3):
        set_gradients(there, step)
        for p, q in zip(here, there, strict=True):
            p.grad = q.grad.cpu()
        ours.step()
        theirs.step()
    assert all(torch.equal(p, q.cpu()) for p, q in zip(here, there, strict=True))
    for p, q in zip(here, there, strict=True):
        assert all(x.device.type == "cpu" for x in ours.state[q].values())
        assert all(torch.equal(x, ours.state[q][k]) for k, x in theirs.state[p].items())


def test_matrices_of_offloaded_log_muon_are_orthogonalised_on_the_device():
    matrices = [torch.randn(64, 48, device="cuda"), torch.randn(300, 100, device="cuda")]
    runs = []
    for offloaded in (False, True):
        params = [torch.nn.Parameter(x.clone()) for x in matrices]
        optimizer = adana.LogMuon(params, lr=1e-2, muon=True, omega=0)
        if offloaded:
            adana.offload_states(optimizer)
        for step in range(3):
            set_gradients(params, step)
            optimizer.step()
        runs.append(params)
    assert close(*runs, 1e-3)


WIDTH, DEPTH = 1024, 12


def chain(dtype=torch.float32):
    torch.manual_seed(0)
    layers = [torch.nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(DEPTH)]
    return torch.nn.Sequential(*layers).to("cuda", dtype)


def backward(model, step, parts=1):
    """The gradients of a step, of as many micro-batches."""
    for part in range(parts):
        generator = torch.Generator().manual_seed(100 * step + part)
        model(torch.randn(8, WIDTH, generator=generator).to("cuda")).square().mean().backward()


@pytest.mark.parametrize(
    ("way", "parts"),  # gradients that are released are those of one backward pass
    [("states", 1), ("states", 3), ("gradients", 1), ("gradients", 3), ("released", 1)],
)
def test_what_travels_beside_the_computing_is_never_read_too_early(way, parts):
    """Weights after many steps are those of an optimizer on the CPU that gets copies, in turns."""
    ours, theirs = chain(), chain()
    copies = [torch.nn.Parameter(p.detach().cpu()) for p in theirs.parameters()]
    optimizer = adana.ADana(ours.parameters(), lr=1e-3, omega=0)
    reference = adana.ADana(copies, lr=1e-3, omega=0)
    adana.offload_states(optimizer, gradients=way == "gradients")
    if way == "released":
        adana.release_gradients(optimizer)
    for step in range(10):
        backward(ours, step, parts)
        assert (ours[0].weight.grad is None) == (way != "states")
        optimizer.step()
        optimizer.zero_grad()
        backward(theirs, step, parts)
        for p, q in zip(copies, theirs.parameters(), strict=True):
            p.grad = q.grad.cpu()
        reference.step()
        theirs.zero_grad()
        with torch.no_grad():
            for p, q in zip(copies, theirs.parameters(), strict=True):
                q.copy_(p)
        torch.cuda.synchronize()
    pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)


def bytes_of_a_step(way):
    """The most bytes allocated on the device by a model, its optimizer and a step; its weights."""
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    model = chain()
    optimizer = adana.ADana(model.parameters(), lr=1e-3, omega=0)
    if way is not None:
        adana.offload_states(optimizer, gradients=way == "gradients")
    for step in range(3):
        if step == 2:
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        backward(model, step)
        optimizer.step()
        optimizer.zero_grad()
    torch.cuda.synchronize()
    weights = sum(p.nbytes for p in model.parameters())
    held = torch.cuda.memory_allocated() - before
    return held, torch.cuda.max_memory_allocated() - before, weights


@pytest.mark.parametrize(
    ("way", "states", "gradients"), [(None, 2, DEPTH), ("states", 0, DEPTH), ("gradients", 0, 3)]
)
def test_the_device_holds_what_it_should(way, states, gradients):
    backward(chain(), 0)  # what libraries take once
    held, peak, weights = bytes_of_a_step(way)
    layer, small = weights // DEPTH, 4 << 20  # activations; blocks that are rounded up
    expected = weights * (1 + states)
    assert expected <= held < expected + small
    if way is not None:  # an ordinary step that is not fused has temporaries
        assert peak < expected + gradients * layer + small
    if way != "gradients":
        assert peak >= expected + gradients * layer


def test_a_state_dict_is_loaded_without_memory_of_the_device():
    model = chain()
    optimizer = adana.ADana(model.parameters(), lr=1e-3, omega=0)
    adana.offload_states(optimizer)
    backward(model, 0)
    optimizer.step()
    saved = optimizer.state_dict()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    optimizer.load_state_dict(saved)
    assert torch.cuda.max_memory_allocated() == before


@pytest.mark.parametrize("fused", [None, True])
def test_a_scaler_and_a_clip_are_numbers_of_the_offloaded_step(fused):
    runs = []
    for offloaded in (False, True):
        model = chain()
        optimizer = adana.ADana(model.parameters(), lr=1e-3, omega=0, fused=fused)
        if offloaded:
            adana.offload_states(optimizer)
        scaler = torch.amp.GradScaler("cuda", init_scale=64.0)
        for step in range(4):
            x = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(step)).to("cuda")
            scaler.scale(model(x).square().mean()).backward()
            if step == 1:
                model[0].weight.grad[0, 0] = torch.inf
            adana.clip_grad_norm(optimizer, 1e-3)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        assert int(optimizer.state[model[0].weight]["step"]) == 3
        runs.append(list(model.parameters()))
    assert close(*runs, 1e-5)


def test_the_norm_of_gradients_on_the_host_is_that_on_the_device():
    norms = []
    for gradients in (False, True):
        model = chain()
        optimizer = adana.ADana(model.parameters(), lr=1e-3, omega=0)
        adana.offload_states(optimizer, gradients=gradients)
        backward(model, 0)
        norms.append(adana.clip_grad_norm(optimizer, 1.0).cpu())
    torch.testing.assert_close(*norms)


def test_capturing_an_offloaded_step_is_refused():
    params = parameters()
    optimizer = adana.ADana(params, lr=1e-2)
    adana.offload_states(optimizer)
    set_gradients(params, 0)
    optimizer.step()
    with (
        pytest.raises(RuntimeError, match="cannot be captured in a CUDA graph"),
        torch.cuda.graph(torch.cuda.CUDAGraph()),
    ):
        optimizer.step()
    optimizer.step()


def test_offloaded_shards_are_updated_as_the_tensors_they_are_of(tmp_path):
    import torch.distributed as dist  # noqa: PLC0415
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh  # noqa: PLC0415

    dist.init_process_group("nccl", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cuda", (1,))
        whole = parameters()[4:6]
        settings = {"lr": 1e-2, "state_dtype": "log16"}
        sharded = [torch.nn.Parameter(distribute_tensor(p.data, mesh, [Shard(0)])) for p in whole]
        ours, theirs = adana.ADana(sharded, **settings), adana.ADana(whole, **settings)
        for optimizer in (ours, theirs):
            adana.offload_states(optimizer, gradients=True)
        for step in range(3):
            set_gradients(whole, step)
            for p, q in zip(sharded, whole, strict=True):
                p.grad = distribute_tensor(q.grad, mesh, [Shard(0)])
            with ours.telemetry() as watch:
                adana.clip_grad_norm(ours, 1.0)
                adana.clip_grad_norm(theirs, 1.0)
                ours.step()
                assert watch.read()[0].g > 0
            theirs.step()
        assert all(x.device.type == "cpu" for x in ours.state[sharded[0]].values())
        assert all(torch.equal(p.full_tensor(), q) for p, q in zip(sharded, whole, strict=True))
    finally:
        dist.destroy_process_group()
