"""What the tests of optimizers on many ranks share."""

import pytest
import torch

pytest.register_assert_rewrite(f"{__package__}.training")


@pytest.fixture(autouse=True)
def one_thread():
    """Compute references as the ranks compute: with more threads, bfloat16 sums round otherwise."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
