"""Counts of parameters and compute, against the published tables (spec/training.md section 2)."""

import pytest

from adana.nn import PFH, EnokiConfig, LSTMConfig, Qwen3Config, count_parameters, training_flops

# heads, layers, width, P, N as printed, C in PFH of 20 N tokens
ENOKI = [
    (2, 1, 128, 196_608, "13.07M", 8.57e-5),
    (3, 2, 192, 884_736, "20.20M", 5.96e-4),
    (4, 3, 256, 2_359_296, "28.11M", 2.21e-3),
    (5, 3, 320, 3_686_400, "35.88M", 4.41e-3),
    (6, 4, 384, 7_077_888, "45.71M", 0.01079),
    (8, 6, 512, 18_874_368, "70.39M", 0.04428),
    (10, 7, 640, 34_406_400, "98.80M", 0.1133),
    (12, 9, 768, 63_700_992, "141.0M", 0.2993),
    (14, 10, 896, 96_337_920, "186.5M", 0.5989),
    (16, 12, 1024, 150_994_944, "254.0M", 1.279),
    (18, 13, 1152, 207_028_224, "322.9M", 2.229),
    (20, 15, 1280, 294_912_000, "423.7M", 4.165),
    (22, 16, 1408, 380_633_088, "522.3M", 6.627),
    (24, 18, 1536, 509_607_936, "664.1M", 11.28),
    (26, 19, 1664, 631_308_288, "798.7M", 16.81),
    (28, 21, 1792, 809_238_528, "989.5M", 26.69),
    (30, 22, 1920, 973_209_600, "1.166B", 37.84),
    (32, 24, 2048, 1_207_959_552, "1.414B", 56.94),
    (34, 25, 2176, 1_420_492_800, "1.639B", 77.63),
    (36, 27, 2304, 1_719_926_784, "1.952B", 111.9),
    (38, 28, 2432, 1_987_313_664, "2.232B", 147.9),
    (40, 30, 2560, 2_359_296_000, "2.617B", 205.8),
    (41, 30, 2624, 2_478_735_360, "2.743B", 226.6),
    (44, 33, 2816, 3_140_222_976, "3.424B", 358.4),
    (48, 36, 3072, 4_076_863_488, "4.386B", 596.0),
]
QWEN3 = [
    (4, 8, 512, 29_370_880, "80.88M", 0.0792),
    (6, 12, 768, 99_112_704, "176.4M", 0.583),
    (8, 16, 1024, 234_918_912, "337.9M", 2.646),
    (10, 20, 1280, 458_809_600, "587.6M", 8.986),
    (12, 24, 1536, 792_804_864, "947.3M", 25.04),
    (14, 28, 1792, 1_258_924_800, "1.439B", 60.40),
    (16, 32, 2048, 1_879_189_504, "2.085B", 130.6),
]
LADDERS = [
    *(pytest.param(EnokiConfig(heads=row[0]), *row[1:], id=f"enoki-{row[0]}") for row in ENOKI),
    *(pytest.param(Qwen3Config(heads=row[0]), *row[1:], id=f"qwen3-{row[0]}") for row in QWEN3),
]


def as_printed(count, like):
    """Round to as many digits as the table has: "45.71M", "1.166B"."""
    digits, unit = like[:-1], {"M": 1e6, "B": 1e9}[like[-1]]
    return f"{count / unit:.{len(digits.partition('.')[2])}f}{like[-1]}"


@pytest.mark.parametrize(("config", "layers", "width", "p", "n", "compute"), LADDERS)
def test_counts_and_compute_match_the_published_ladder(config, layers, width, p, n, compute):
    counts = count_parameters(config)
    assert (config.depth, config.width) == (layers, width)
    assert counts.non_embedding == p
    assert as_printed(counts.total, n) == n
    flops = training_flops(config, 20 * counts.total)
    assert flops["6PD"] / PFH == pytest.approx(compute, rel=1.1e-3)


def test_exact_counts_match_the_specification():
    assert count_parameters(EnokiConfig(heads=6)).exact == 45_715_328
    assert count_parameters(EnokiConfig(heads=12)).exact == 140_983_680
    assert count_parameters(Qwen3Config(heads=4)).exact == 80_882_176
    assert count_parameters(Qwen3Config(heads=8)).exact == 337_941_504


def test_flops_of_the_transformers_follow_the_four_published_conventions():
    for config in (EnokiConfig(heads=6, layers=4), Qwen3Config(heads=3, layers=4)):
        d, flops = 384, training_flops(config, 1000)
        assert config.width == d
        assert flops["6PD"] == 6000 * count_parameters(config).non_embedding
        assert flops["6N1"] == 1000 * 72 * 4 * d * d
        assert flops["6N2"] - flops["6N1"] == 1000 * 6 * 50_304 * d
        assert flops["M"] - flops["6N1"] == 1000 * 12 * 4 * d * 2048
    enoki = training_flops(EnokiConfig(heads=6), 1000)
    assert enoki["6N1"] == enoki["6PD"]


def test_an_lstm_has_eight_matrices_a_layer_and_no_attention():
    config = LSTMConfig(width=256, layers=3, vocab_size=1000)
    assert count_parameters(config).non_embedding == 8 * 256**2 * 3
    flops = training_flops(config, 10)
    assert flops["6PD"] == flops["6N1"] == flops["M"] == 60 * 8 * 256**2 * 3
    assert flops["6N2"] - flops["6N1"] == 60 * 1000 * 256
