"""Which GPUs trainings are spread over. What the machine has is put in its place: CI has none."""

import pytest
import torch

from adana.train import gpus_to_share


@pytest.mark.parametrize(
    ("device", "count", "visible", "expected"),
    [
        ("auto", 3, None, ("0", "1", "2")),
        ("cuda", 2, None, ("0", "1")),
        ("cuda", 2, "GPU-5f,7", ("GPU-5f", "7")),
        ("cuda", 2, "4,5,9", ("4", "5")),  # 9 is not there, and ends the list for CUDA
        ("cuda:1", 3, None, ()),
        ("cpu", 3, None, ()),
        ("auto", 1, "4", ()),
        ("auto", 0, None, ()),
    ],
)
def test_trainings_are_spread_over_what_is_visible(device, count, visible, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_to_share(device) == expected
