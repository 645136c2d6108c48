"""Names that libraries give to layers, for torch's and JAX's ways of writing them."""

HEAD_NAMES = "lm_head|head|output|unembed|embed_out|classifier|score"
"""Alternatives of a regular expression: the layer from width to vocabulary or classes."""
