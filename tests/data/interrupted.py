"""Preparations that are stopped in the middle."""

import pytest

from adana.data import prepare


def prepare_until_interrupted(config, cache):
    """Prepare with Ctrl-C at the twelfth report of text that becomes tokens."""
    count = 0

    def interrupt(stage, fraction):
        nonlocal count
        count += "turning text" in stage
        if count == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(config, cache, interrupt, shard_tokens=1000)
