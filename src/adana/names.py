"""What names and shapes say of parameters, for torch's and JAX's ways of writing them."""

import re
from collections.abc import Sequence

HEAD_NAMES = "lm_head|head|output|unembed|embed_out|classifier|score"
"""Alternatives of a regular expression: the layer from width to vocabulary or classes."""
WRAPPERS = r"(^|\.)(module|_orig_mod|_checkpoint_wrapped_module)(?=\.)"
"""What DDP, torch.compile and activation checkpointing add to names."""


def plain_name(name: str) -> str:
    """Return a parameter's name without what wrappers added to it."""
    return re.sub(WRAPPERS, "", name).lstrip(".")


def is_matrix(shape: Sequence[int]) -> bool:
    """Return whether a shape is that of a matrix, or several, and of no vector with empty axes.

    Those have three or more dimensions, like a class token's (1, 1, width). Two are always a
    matrix: a layer from or to one channel has one as well.
    """
    return len(shape) == 2 or (len(shape) > 2 and sum(size > 1 for size in shape) > 1)
