"""The published ladders, row by row (spec/training.md section 2)."""

import math

import pytest

from adana import schedules
from adana.ladder import PUBLISHED_HEADS, plan_rung, steps_of_budget
from adana.nn import PFH, EnokiConfig, LSTMConfig, training_flops

# H | L | d | P | N | tokens | T | W | floor(S) | C in PFH
ENOKI = """
2  | 1  | 128  | 196608     | 13.07M | 0.261B | 3990    | 79    | 399    | 8.57e-5
3  | 2  | 192  | 884736     | 20.20M | 0.404B | 6165    | 123   | 616    | 5.96e-4
4  | 3  | 256  | 2359296    | 28.11M | 0.562B | 8580    | 171   | 858    | 2.21e-3
5  | 3  | 320  | 3686400    | 35.88M | 0.718B | 10950   | 219   | 1095   | 4.41e-3
6  | 4  | 384  | 7077888    | 45.71M | 0.914B | 13950   | 279   | 1395   | 0.01079
8  | 6  | 512  | 18874368   | 70.39M | 1.408B | 21480   | 429   | 2148   | 0.04428
10 | 7  | 640  | 34406400   | 98.80M | 1.976B | 30150   | 603   | 3015   | 0.1133
12 | 9  | 768  | 63700992   | 141.0M | 2.819B | 43020   | 860   | 4302   | 0.2993
14 | 10 | 896  | 96337920   | 186.5M | 3.730B | 56910   | 1138  | 5691   | 0.5989
16 | 12 | 1024 | 150994944  | 254.0M | 5.080B | 77520   | 1550  | 7752   | 1.279
18 | 13 | 1152 | 207028224  | 322.9M | 6.459B | 98550   | 1971  | 9855   | 2.229
20 | 15 | 1280 | 294912000  | 423.7M | 8.474B | 129300  | 2586  | 12930  | 4.165
22 | 16 | 1408 | 380633088  | 522.3M | 10.45B | 159390  | 3187  | 15939  | 6.627
24 | 18 | 1536 | 509607936  | 664.1M | 13.28B | 202680  | 4053  | 20268  | 11.28
26 | 19 | 1664 | 631308288  | 798.7M | 15.97B | 243750  | 4875  | 24375  | 16.81
28 | 21 | 1792 | 809238528  | 989.5M | 19.79B | 301980  | 6039  | 30198  | 26.69
30 | 22 | 1920 | 973209600  | 1.166B | 23.33B | 355950  | 7119  | 35595  | 37.84
32 | 24 | 2048 | 1207959552 | 1.414B | 28.28B | 431520  | 8630  | 43152  | 56.94
34 | 25 | 2176 | 1420492800 | 1.639B | 32.79B | 500310  | 10006 | 50031  | 77.63
36 | 27 | 2304 | 1719926784 | 1.952B | 39.03B | 595620  | 11912 | 59562  | 111.9
38 | 28 | 2432 | 1987313664 | 2.232B | 44.64B | 681150  | 13623 | 68115  | 147.9
40 | 30 | 2560 | 2359296000 | 2.617B | 52.34B | 798600  | 15972 | 79860  | 205.8
41 | 30 | 2624 | 2478735360 | 2.743B | 54.85B | 837015  | 16740 | 83701  | 226.6
44 | 33 | 2816 | 3140222976 | 3.424B | 68.47B | 1044780 | 20895 | 104478 | 358.4
48 | 36 | 3072 | 4076863488 | 4.386B | 87.72B | 1338480 | 26769 | 133848 | 596.0
"""
# The MLP's width stands in place of the tokens, which the table leaves out.
QWEN3 = """
4  | 8  | 512  | 29370880   | 80.88M | 1536 | 24683  | 493   | 2468  | 0.0792
6  | 12 | 768  | 99112704   | 176.4M | 2304 | 53826  | 1076  | 5382  | 0.583
8  | 16 | 1024 | 234918912  | 337.9M | 3072 | 103131 | 2062  | 10313 | 2.646
10 | 20 | 1280 | 458809600  | 587.6M | 3840 | 179317 | 3586  | 17931 | 8.986
12 | 24 | 1536 | 792804864  | 947.3M | 4608 | 289104 | 5782  | 28910 | 25.04
14 | 28 | 1792 | 1258924800 | 1.439B | 5376 | 439213 | 8784  | 43921 | 60.40
16 | 32 | 2048 | 1879189504 | 2.085B | 6144 | 636363 | 12727 | 63636 | 130.6
"""


def rows(table):
    return [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]


def count(text):
    """Return (value, half of its last digit)."""
    unit = {"M": 1e6, "B": 1e9}.get(text[-1], 1)
    digits = text.rstrip("MB")
    mantissa, _, exponent = digits.partition("e")
    scale = unit * 10 ** int(exponent or 0)
    places = len(mantissa.partition(".")[2])
    return float(mantissa) * scale, 0.5 * 10**-places * scale


COMPUTE_SLACK = 1.11
"""The table rounds C of H = 6 and 14 up from 0.47 and 0.45 of the last digit."""


def rounds_to(value, text, slack=1 + 1e-9):
    published, half = count(text)
    return abs(value - published) <= half * slack


@pytest.mark.parametrize("row", rows(ENOKI), ids=lambda row: f"H={row[0]}")
def test_enoki_is_the_published_ladder(row):
    heads, layers, width, p, n, tokens, *rest = row
    check("enoki", int(heads), int(layers), int(width), int(p), n, *rest)
    assert rounds_to(plan_rung("enoki", int(heads)).budget, tokens)


@pytest.mark.parametrize("row", rows(QWEN3), ids=lambda row: f"H={row[0]}")
def test_qwen3_is_the_published_ladder_at_its_true_size(row):
    heads, layers, width, p, n, mlp, *rest = row
    check("qwen3", int(heads), int(layers), int(width), int(p), n, *rest)
    assert int(mlp) == 3 * int(width)


def check(family, heads, layers, width, p, n, steps, warmup, offset, compute):
    rung = plan_rung(family, heads)
    assert rung.published
    assert (rung.model.depth, rung.model.width) == (layers, width)
    assert rung.counts.non_embedding == p
    assert rounds_to(rung.counts.total, n)
    assert (rung.steps, rung.warmup_steps) == (int(steps), int(warmup))
    assert math.floor(rung.decay_offset) == int(offset)
    # The published C is that of the budget, ours of the tokens that are trained on.
    budget = training_flops(rung.model, rung.budget)["6PD"] / PFH
    assert rounds_to(budget, compute, slack=COMPUTE_SLACK)
    assert budget * (1 - 1 / int(steps)) < rung.compute <= budget


def test_the_tables_hold_all_published_rungs():
    heads = {"enoki": ENOKI, "qwen3": QWEN3}
    for family, table in heads.items():
        assert tuple(int(row[0]) for row in rows(table)) == PUBLISHED_HEADS[family]


def test_a_size_between_the_published_ones_follows_the_rule_and_is_known_to_be_one():
    rung = plan_rung("enoki", 7)
    assert not rung.published
    assert (rung.model.depth, rung.model.width) == (5, 448)


@pytest.mark.parametrize("ratio", [1, 5, 20, 100, 5000])
def test_tokens_are_whole_steps_of_the_budget(ratio):
    rung = plan_rung("enoki", 6, tokens_per_param=ratio)
    assert rung.budget == ratio * 45_711_360
    assert rung.tokens == rung.steps * 65_536
    assert 0 <= rung.budget - rung.tokens < 65_536


def test_a_larger_batch_takes_fewer_steps_over_the_same_tokens():
    small, large = plan_rung("enoki", 6), plan_rung("enoki", 6, batch_size=512)
    assert large.steps == small.budget // (512 * 2048)
    assert large.warmup_steps == large.steps // 50


def test_warm_up_and_decay_offset_are_those_of_a_training():
    rung = plan_rung("enoki", 3)
    assert rung.warmup_steps == schedules.default_warmup_steps(6165)
    assert rung.decay_offset == schedules.default_decay_offset(schedules.OMEGA, 6165) == 616.5


def test_the_warm_up_is_a_fiftieth_rounded_down():
    steps = [*range(5000), *range(1_338_000, 1_339_000)]
    assert [schedules.default_warmup_steps(t) for t in steps] == [t // 50 for t in steps]


def test_parameters_are_counted_under_every_convention():
    enoki, qwen3 = plan_rung("enoki", 6).parameters, plan_rung("qwen3", 4).parameters
    matrix = 50_304 * 384
    p = 12 * 384**2 * 4
    assert enoki == {
        "P": p,
        "P + head": p + matrix,
        "N": p + 2 * matrix,
        "exact": 45_715_328,
        "12 d^2 L": p,
    }
    assert qwen3["12 d^2 L"] == 12 * 512**2 * 8 < qwen3["P"] == 29_370_880


def test_what_a_device_computes_are_all_matrices_and_attention():
    for family, per_layer in (("enoki", 12), ("qwen3", 14)):
        rung = plan_rung(family, 4, vocab_size=1000, sequence_length=512)
        d, layers = rung.model.width, rung.model.depth
        matrices = per_layer * d * d * layers + 1000 * d
        expected = (6 * matrices + 12 * layers * d * 512) * rung.tokens
        assert rung.model_flops == pytest.approx(expected, rel=2e-3)  # Qwen3's P has its norms


@pytest.mark.parametrize("ratio", [0, -1, 1.1e6, math.nan, math.inf])
def test_a_ratio_out_of_range_is_refused(ratio):
    with pytest.raises(ValueError, match=r"tokens per parameter must be .*\(0, 1e\+06\]"):
        plan_rung("enoki", 6, tokens_per_param=ratio)


def test_a_budget_of_less_than_a_step_is_refused():
    with pytest.raises(ValueError, match=r"less than one step of 32 x 2048 = 65,536"):
        plan_rung("enoki", 2, tokens_per_param=0.001)


def test_the_lstm_has_no_published_ladder_but_a_budget():
    with pytest.raises(ValueError, match=r"no ladder of 'lstm' is published.*enoki: H = 2, 3"):
        plan_rung("lstm", 4)
    model = LSTMConfig(width=64, layers=2, vocab_size=256, sequence_length=32)
    assert steps_of_budget(model, 4, 20) == 20 * (8 * 64**2 * 2 + 2 * 256 * 64) // (4 * 32)


def test_steps_of_a_budget_need_no_rung():
    model = EnokiConfig(heads=2, layers=2, head_dim=32, vocab_size=1024, sequence_length=128)
    assert steps_of_budget(model, 16, 10) == 10 * 229_376 // (16 * 128)
