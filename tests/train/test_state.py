"""Sums over steps, as training rows report them."""

import math

import pytest

from adana.train.state import Averages


def test_rows_are_means_over_the_steps():
    averages = Averages()
    averages.add(loss=2.0, z=4.0, grad_norm=0.2, clip=0.5)
    averages.add(loss=4.0, z=8.0, grad_norm=0.8, clip=0.5)
    assert averages.row() == pytest.approx(
        {"train_loss": 3.0, "train_z": 6.0, "grad_norm": 0.5, "clipped": 0.5}
    )


def test_a_z_that_is_not_known_is_left_out_not_made_up():
    averages = Averages()
    averages.add(loss=2.0, z=4.0, grad_norm=0.2, clip=0.5)
    averages.add(loss=2.0, z=math.nan, grad_norm=0.2, clip=0.5)
    averages.add(loss=2.0, z=4.0, grad_norm=0.2, clip=0.5)
    assert "train_z" not in averages.row()
