"""What experiments study unless asked otherwise: one problem, and one mixture of experts."""

from __future__ import annotations

ALPHA, BETA = 1.0, 0.3
"""A point of phase Ia, where one power law leads until the floor."""
DIMENSION = 1_000_000
"""Parameters d, where nothing is drawn."""

EXPERTS, EXPONENT = 64, 1.0
"""Experts, to which samples go with a probability like `i^-exponent`."""
EXPERT_BETA = 0.0
"""Beta of their problem, as in the spec's runs (spec/plrf.md section 13.8)."""
EXPERT_DIMENSION = 100
"""Parameters of each expert, which are drawn and trained."""
EXPERT_BATCH = 32
"""Samples a step, over all experts."""
