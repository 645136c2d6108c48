"""Keys of random bits: whose they are, when they change, and what computing them costs."""

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

import adana
from adana.optim import coded, keys, placement, storage
from adana.optim.placement import Placement, Section, sections
from adana.optim.randomness import key
from adana.optim.storage import identities

from .conftest import close, parameters, run, same, set_gradients
from .test_fused import rows_of


def halves(count):
    """Parameters that a step rounds up or down at random."""
    return [torch.nn.Parameter(torch.full((500,), 0.77).bfloat16()) for _ in range(count)]


def stepped(optimizer):
    for group in optimizer.param_groups:
        for p in group["params"]:
            p.grad = torch.ones_like(p)
    optimizer.step()
    return [p.detach().clone() for group in optimizer.param_groups for p in group["params"]]


# --- whose they are -------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("w", "w"), ("w", "module.w")])
def test_parameters_of_one_name_do_not_share_bits(names):
    """As those of two models in one optimizer."""
    a, b = halves(2)
    groups = [{"params": [(name, p)]} for name, p in zip(names, (a, b), strict=True)]
    first, second = stepped(adana.ADana(groups, 1e-3))
    assert not torch.equal(first, second)


def test_names_whose_hashes_collide_get_numbers_of_their_own(monkeypatch):
    monkeypatch.setattr(storage.zlib, "crc32", lambda _: 7)
    params = halves(3)
    group = {"params": params, "param_names": ["a", "b", "c"]}
    numbers = list(identities([group]).values())
    assert len(set(numbers)) == 3
    assert numbers[0] == 7
    assert len({key(0, 1, number) for number in numbers}) == 3


@pytest.mark.parametrize("kind", [np.int64, np.uint64, np.int32])
def test_a_seed_may_be_any_kind_of_integer(kind):
    expected = stepped(adana.ADana(halves(1), 1e-3, seed=3))
    assert same(stepped(adana.ADana(halves(1), 1e-3, seed=kind(3))), expected)
    assert type(adana.ADana(halves(1), 1e-3, seed=kind(3)).param_groups[0]["seed"]) is int


def test_a_seed_beyond_64_bits_is_refused():
    """It would be cut: 2^64 + 1 would be 1."""
    adana.ADana(halves(1), 1e-3, seed=2**64 - 1)
    with pytest.raises(ValueError, match="seed"):
        adana.ADana(halves(1), 1e-3, seed=2**64 + 1)


# --- when they are computed -----------------------------------------------------------------------


def counted(monkeypatch):
    calls = []
    monkeypatch.setattr(
        keys, "identities", lambda groups: calls.append(len(groups)) or identities(groups)
    )
    return calls


def test_names_are_hashed_once_and_not_at_every_step(monkeypatch):
    calls = counted(monkeypatch)
    groups = [{"params": [(f"w{i}", p)]} for i, p in enumerate(halves(5))]
    optimizer = adana.ADana(groups, 1e-3)
    for _ in range(3):
        stepped(optimizer)
    assert calls == [5]


def test_steps_without_codes_hash_no_names(monkeypatch):
    calls = counted(monkeypatch)
    run(adana.ADana, parameters(), 2, lr=1e-2)
    assert calls == []


def test_keys_follow_every_change_of_the_groups():
    """Each way to change them, after a step that has made keys, against an optimizer without."""

    def added(optimizer):
        optimizer.add_param_group({"params": halves(1)})

    def replaced(optimizer):
        optimizer.param_groups[0]["params"] = halves(2)

    def swapped_in_place(optimizer):
        optimizer.param_groups[0]["params"].reverse()

    def removed_in_place(optimizer):
        del optimizer.param_groups[0]["params"][0]

    def seeded(optimizer):
        optimizer.reschedule(seed=5)

    def loaded(optimizer):
        optimizer.load_state_dict(adana.ADana(halves(2), 1e-3, seed=9).state_dict())

    for change in (added, replaced, swapped_in_place, removed_in_place, seeded, loaded):
        found = []
        for warm in (True, False):
            optimizer = adana.ADana(halves(2), 1e-3)
            stepped(optimizer)
            change(optimizer)
            if not warm:
                optimizer._streams = None
            found.append(stepped(optimizer))
        assert same(*found), change.__name__


# --- more than 2^32 elements ----------------------------------------------------------------------


def elements(where, size):
    """Global indices of local elements, by the definition."""
    return [where.first + i // where.run * where.stride + i % where.run for i in range(size)]


@pytest.mark.parametrize("limit", [1, 5, 16, 1000])
@pytest.mark.parametrize(
    ("where", "size"),
    [
        (Placement(0, 150, 0), 150),
        (Placement(61, 1, 0), 1),
        (Placement(40, 100, 0), 100),
        (Placement(3, 4, 10), 60),
        (Placement(0, 64, 70), 320),
        (Placement(5, 70, 90), 210),
        (Placement(63, 1, 3), 40),
        (Placement(0, 1, 0), 0),
    ],
)
def test_sections_have_all_elements_once_and_one_key_each(monkeypatch, where, size, limit):
    monkeypatch.setattr(placement, "REACH", 64)
    found = list(sections(where, size, limit))
    every = elements(where, size)
    assert [i for s in found for i in range(s.begin, s.end)] == list(range(size))
    for s in found:
        mine = every[s.begin : s.end]
        assert elements(s.placement, s.end - s.begin) == mine
        assert {i // 64 for i in mine} == {s.key}
        assert len(mine) <= limit


def test_huge_tensors_are_cut_where_the_high_bits_of_the_index_change():
    whole = list(sections(Placement(0, 2**33 + 5, 0), 2**33 + 5, 2**40))
    assert [(s.begin, s.end, s.key) for s in whole] == [
        (0, 2**32, 0), (2**32, 2**33, 1), (2**33, 2**33 + 5, 2),
    ]  # fmt: skip
    (shard,) = sections(Placement(2**32 + 7, 100, 0), 100, 2**40)
    assert shard == Section(0, 100, Placement(2**32 + 7, 100, 0), 1)
    columns = list(sections(Placement(2**32 - 30, 10, 20), 40, 2**40))  # 2 rows before, 2 after
    assert [(s.begin, s.end, s.key) for s in columns] == [(0, 20, 0), (20, 40, 1)]


def test_indices_are_the_same_with_and_without_gaps_between_runs():
    for first in (0, 2**31 - 3, 2**32 - 3, 2**40 + 5):
        near = placement.global_index(Placement(first, 10, 0), torch.empty(10))
        far = placement.global_index(Placement(first, 5, 5), torch.empty(10))
        assert near.dtype == far.dtype == torch.int32
        assert near.equal(far)
        assert (near.long() & 0xFFFFFFFF).tolist() == [(first + i) % 2**32 for i in range(10)]


@pytest.mark.parametrize("options", [{}, {"foreach": True}], ids=["fused", "eager"])
def test_elements_far_apart_have_keys_of_their_own(monkeypatch, options):
    """With keys for 64 elements each instead of 2^32; then with the same key for all."""

    def trained():
        params = parameters(torch.bfloat16, [(33, 31)])
        optimizer = run(adana.DanaStarMK4, params, 1, lr=1e-2, state_dtype="log16", **options)
        return params + rows_of(optimizer)

    usual = trained()
    for module in (placement, keys):
        monkeypatch.setattr(module, "REACH", 64)
    cut = trained()
    for a, b in zip(usual, cut, strict=True):
        if a.numel() > 64:
            assert a.flatten()[:64].equal(b.flatten()[:64])  # the first key is the only one's
            assert not a.equal(b)
    one = keys.Streams.keys
    monkeypatch.setattr(
        keys.Streams, "keys", lambda *a, **k: [x[:1] * len(x) for x in one(*a, **k)]
    )
    assert same(trained(), usual)


def test_telemetry_adds_up_all_rows_of_a_parameter(monkeypatch):
    seen = []
    for reach in (1 << 32, 64):
        for module in (placement, keys):
            monkeypatch.setattr(module, "REACH", reach)
        params = parameters(shapes=[(5,), (33, 31), (3, 4)])
        optimizer = adana.ADana(params, 1e-2, state_dtype="log16", fused=True)
        set_gradients(params, 0)
        with optimizer.telemetry() as watch:
            optimizer.step()
        seen.append(watch.read())
    for i in range(3):
        assert seen[0][i].g == pytest.approx(seen[1][i].g, rel=1e-6)
        assert seen[0][i].g == pytest.approx(params[i].grad.norm().item(), rel=1e-5)


# --- in pieces, and compiled ----------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [{"state_dtype": "log16"}, {"bf16_weights": "split24"}])
def test_eager_steps_take_large_parameters_piece_by_piece_with_the_same_bits(
    monkeypatch, arguments
):
    dtype = torch.bfloat16 if "bf16_weights" in arguments else torch.float32
    found = []
    for limit in (1 << 18, 100):
        monkeypatch.setattr(coded, "AT_ONCE_ON_CPU", limit)
        params = parameters(dtype, [(33, 31), (7,), (), (0,)])
        optimizer = run(adana.DanaStarMK4, params, 3, lr=1e-2, foreach=True, **arguments)
        found.append(params + rows_of(optimizer))
    assert same(*found)


def test_eager_steps_need_little_memory_beside_what_is_kept(monkeypatch):
    """The largest tensor that the update sees has the elements of a piece."""
    sizes = []
    update = adana.ADana._update_together

    def spied(self, work):
        sizes.extend(p.numel() for p in work.params)
        update(self, work)

    monkeypatch.setattr(adana.ADana, "_update_together", spied)
    monkeypatch.setattr(coded, "AT_ONCE_ON_CPU", 1000)
    run(adana.ADana, parameters(shapes=[(2500,)]), 1, lr=1e-2, state_dtype="log16", foreach=True)
    assert sizes == [1000, 1000, 500]


@pytest.mark.parametrize(
    ("dtype", "arguments"),
    [
        (torch.float32, {"state_dtype": "log16"}),
        (torch.bfloat16, {"state_dtype": "bf16_sr", "bf16_weights": "stochastic"}),
    ],
    ids=["log16", "stochastic"],
)
def test_compiled_steps_with_codes_compile_once_and_are_right(dtype, arguments):
    """Numbers of a step are no codes, and its keys no constants."""
    shapes = [(40, 50)]
    plain, compiled = parameters(dtype, shapes), parameters(dtype, shapes)
    reference = adana.ADana(plain, 1e-2, foreach=False, **arguments)
    optimizer = adana.ADana(compiled, 1e-2, **arguments)
    torch._dynamo.reset()
    counter = CompileCounter()
    step = torch.compile(optimizer.step, backend=counter)
    for t in range(4):
        set_gradients(plain, t)
        set_gradients(compiled, t)
        step()
        reference.step()
        if t == 0:
            for a, b in zip(rows_of(reference), rows_of(optimizer), strict=True):
                assert a.dtype == b.dtype
                assert (a != b).float().mean() < 0.02
    assert counter.frame_count == 1
    assert close([p.float() for p in plain], [p.float() for p in compiled], 1e-2)
