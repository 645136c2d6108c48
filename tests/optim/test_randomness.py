"""Random bits: the same forever, uniform, and unrelated wherever they are used.

Statistics have a fixed seed. Counts of n fair bits are within five standard deviations, sqrt(n)/2
each, which one in two million is not by chance; the tests look at a few tens of thousands.
"""

import math

import numpy as np
import pytest
import torch

from adana.optim.randomness import at_step, key, mixed, signed, stream, words

COUNT = 1 << 16
INDEX = torch.arange(COUNT, dtype=torch.int32)
KNOWN_KEY = (-232662180, -279672668)
KNOWN = [
    [-731306293, 419655477, 1405306359, 1253416809],
    [-1060815301, -1465869472, 223571739, 1311885727],
    [1754513304, -415142738, 1446356043, 1701242236],
]


def bits(word):
    """Return the 32 bits of int32 words as a matrix of zeros and ones."""
    return (word.numpy().view(np.uint32)[:, None] >> np.arange(32, dtype=np.uint32)) & 1


def agreement(a, b):
    """Return by how many standard deviations bits of a and b agree too often, for all 32 x 32."""
    x, y = (2.0 * bits(word) - 1 for word in (a, b))
    return np.abs(x.T @ y) / math.sqrt(len(x))


def test_bits_never_change():
    """Resumed runs would differ. If this fails, restore the bits: do not change the numbers."""
    assert key(0, 1, 0) == (-550237500, 586128780)
    assert key(seed=2**63 + 5, step=10**9, parameter=299, high=3) == KNOWN_KEY
    random = words(INDEX[:4], key(0, 1, 0))
    assert random(0).tolist() == KNOWN[0]
    assert random(1).tolist() == KNOWN[1]
    assert random(2).tolist() == KNOWN[2]


def test_a_key_is_the_same_from_ints_and_from_tensors():
    for step in (0, 1, 2, 12345, 2**31 - 1):
        for own in (stream(0, 0), stream(-7, 3, 1), stream(2**40, 10**6)):
            on_device = at_step(own, torch.tensor(step, dtype=torch.int32))
            assert at_step(own, step) == tuple(x.item() for x in on_device)


def test_mixing_loses_nothing():
    """On 2^20 words that differ in the low, middle or high bits, all results differ."""
    numbers = torch.arange(1 << 20, dtype=torch.int32)
    for shift in (0, 6, 12):
        assert len(mixed(numbers << shift).unique()) == len(numbers)


def test_mixing_makes_every_bit_depend_on_every_other():
    """A changed bit flips each other bit with a probability of 1/2, within 0.02."""
    x = words(INDEX, key(9, 9, 9))(0)
    for bit in range(32):
        flipped = bits(mixed(x) ^ mixed(x ^ signed(1 << bit))).mean(0)
        assert np.abs(flipped - 0.5).max() < 0.02, bit


@pytest.mark.parametrize("k", [0, 1, 2])
def test_every_bit_is_fair_and_no_two_bits_of_a_word_agree(k):
    word = words(INDEX, key(1, 2, 3))(k)
    assert np.abs((2.0 * bits(word) - 1).sum(0)).max() / math.sqrt(COUNT) < 5
    pairs = agreement(word, word)
    np.fill_diagonal(pairs, 0)
    assert pairs.max() < 5


@pytest.mark.parametrize("low", [True, False])
def test_words_are_uniform(low):
    """Chi-squared of 256 classes, of the lowest and of the highest 8 bits: 255 +- 22.6."""
    for seed in range(4):
        word = words(INDEX, key(seed, 1, 0))(0)
        counts = torch.bincount(word & 0xFF if low else word >> 24 & 0xFF, minlength=256)
        expected = COUNT / 256
        assert abs((counts - expected).square().sum().item() / expected - 255) < 5 * 22.6


HERE = words(INDEX, key(1, 100, 5))(0)
OTHERS = {
    "the next element": words(INDEX + 1, key(1, 100, 5))(0),
    "the next row": words(INDEX + 4096, key(1, 100, 5))(0),
    "the next step": words(INDEX, key(1, 101, 5))(0),
    "the next parameter": words(INDEX, key(1, 100, 6))(0),
    "the next seed": words(INDEX, key(2, 100, 5))(0),
    "the next word": words(INDEX, key(1, 100, 5))(1),
    "the word after": words(INDEX, key(1, 100, 5))(2),
    "the next 2^32 elements": words(INDEX, key(1, 100, 5, 1))(0),
    "seed and step swapped": words(INDEX, key(100, 1, 5))(0),
    "seed and parameter swapped": words(INDEX, key(5, 100, 1))(0),
}


@pytest.mark.parametrize("where", OTHERS)
def test_bits_are_unrelated_to_those_of(where):
    assert agreement(HERE, OTHERS[where]).max() < 5
    assert (OTHERS[where] == HERE).sum() <= 3


def test_bits_of_one_element_are_unrelated_from_step_to_step():
    """What stochastic rounding needs most: errors of successive steps must not add up."""
    own = stream(3, 7)
    elements = INDEX[:64]
    series = torch.stack([words(elements, at_step(own, t))(0) for t in range(1, 1025)])
    for lag in (1, 2, 3, 16, 100):
        assert agreement(series[:-lag].flatten(), series[lag:].flatten()).max() < 5
    each = (2.0 * bits(series.T.flatten()) - 1).reshape(64, 1024, 32).sum(1) / 32
    assert np.abs(each).max() < 5


def test_bits_do_not_depend_on_how_elements_are_spread():
    whole = words(INDEX, key(1, 2, 3))(1)
    for part in (INDEX[::2], INDEX[1000:1003], INDEX.view(256, 256)[:, 3]):
        assert words(part, key(1, 2, 3))(1).equal(whole[part.long()])


def test_indices_use_all_32_bits():
    """An int32 index wraps beyond 2^31 and goes on."""
    top = torch.tensor([2**31 - 1, -(2**31), -1], dtype=torch.int32)
    assert len(words(top, key(0, 1, 0))(0).unique()) == 3
