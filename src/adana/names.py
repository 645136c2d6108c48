"""Names that libraries give to layers, for torch's and JAX's ways of writing them."""

import re

HEAD_NAMES = "lm_head|head|output|unembed|embed_out|classifier|score"
"""Alternatives of a regular expression: the layer from width to vocabulary or classes."""
WRAPPERS = r"(^|\.)(module|_orig_mod|_checkpoint_wrapped_module)(?=\.)"
"""What DDP, torch.compile and activation checkpointing add to names."""


def plain_name(name: str) -> str:
    """Return a parameter's name without what wrappers added to it."""
    return re.sub(WRAPPERS, "", name).lstrip(".")
