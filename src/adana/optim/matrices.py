"""Which matrices of a model are between hidden layers, so that Muon may orthogonalise their steps.

A parameter does not say what it is for. A table of positions and an output head have the shape of
a hidden matrix, but Muon is not meant for them; a hidden matrix that is left to ADana still trains.
So what is not known to be a hidden matrix is left out, and guesses are named.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from torch import nn

from adana.names import HEAD_NAMES, plain_name

Named = Sequence[tuple[str, nn.Parameter]]

HEADS = rf"^(\w+\.)?({HEAD_NAMES})\.weight$"
"""Default of `heads`: names that libraries give the layer from width to vocabulary or classes."""
KNOWN = (nn.Linear, nn.Bilinear, nn.modules.conv._ConvNd, nn.MultiheadAttention, nn.RNNBase)
"""Modules of torch whose own parameters of two or more dimensions are hidden matrices."""
KNOWN_NAMES = r"Linear(\d\w*)?$|^Conv1D$"
"""Class names that libraries give such modules (transformers' `Conv1D` is a transposed Linear)."""


def stacks_of_matrices(candidates: Named, stacks: str | None) -> set[int]:
    """Return the ids of those `candidates` whose first dimension counts matrices.

    Raises `ValueError` where the pattern `stacks` is found in the name of one that has only two.
    """
    found = [(name, p) for name, p in candidates if stacks and re.search(stacks, name)]
    for name, p in found:
        if p.ndim < 3:
            raise ValueError(
                f"stacks pattern {stacks!r} matches {name} of shape {tuple(p.shape)}, which is one "
                "matrix: a stack has three or more dimensions, of which the first counts matrices. "
                "Biases of experts look so too: match the weights alone (stacks='experts.*weight')"
            )
    return {id(p) for _, p in found}


def hidden_matrices(
    model: nn.Module,
    candidates: Named,
    *,
    heads: str | None,
    matrices: str | None,
    stacklevel: int,
) -> set[int]:
    """Return the ids of those `candidates` (decayed, two or more dimensions) that are hidden.

    `heads` and `matrices` as for `param_groups`. What is guessed is said in one warning, whose
    `stacklevel` counts from the caller, which is 1.
    """
    rest = [(name, p) for name, p in candidates if not (heads and re.search(heads, name))]
    guesses: list[str] = []
    if matrices is not None:
        chosen = [(name, p) for name, p in rest if re.search(matrices, name)]
    else:
        chosen = _known_ones(model, rest, heads, guesses)
    kernels = _of_modules(model, (nn.modules.conv._ConvNd,))
    folded = [name for name, p in chosen if p.ndim > 2 and id(p) not in kernels]
    if folded:
        guesses.append(
            f"{', '.join(folded)}: taken for one matrix, the first dimension by the others, as a "
            "convolution kernel is (say stacks='...' if the first dimension counts matrices)"
        )
    if guesses:
        warnings.warn(
            f"param_groups(muon=True) had to guess. {'; '.join(guesses)}.",
            stacklevel=stacklevel + 1,
        )
    return {id(p) for _, p in chosen}


def _known_ones(
    model: nn.Module, rest: Named, heads: str | None, guesses: list[str]
) -> list[tuple[str, nn.Parameter]]:
    """Return those of `rest` that belong to modules of known kinds; add what was guessed."""
    known = _of_modules(model, KNOWN, KNOWN_NAMES)
    chosen = [(name, p) for name, p in rest if id(p) in known]
    if heads == HEADS and chosen and not _names_a_head(model):
        name, _ = chosen.pop()
        guesses.append(
            f"{name} is taken for the output head, being the last matrix of a model in which no "
            "name is that of a head (say heads='...', or heads=None if there is none)"
        )
    unknown = [name for name, p in rest if id(p) not in known]
    if unknown:
        guesses.append(
            f"{', '.join(unknown)}: not taken for hidden matrices, because the modules they belong "
            "to are of no known kind (say matrices='...' to choose by name, or stacks='...' where "
            "the first dimension counts matrices)"
        )
    return chosen


def _of_modules(model: nn.Module, kinds: tuple[type, ...], named: str | None = None) -> set[int]:
    """Return the ids of the parameters that belong directly to a module of a known kind.

    One of these classes, or of a class in whose name the pattern `named` is found.
    """
    return {
        id(p)
        for module in model.modules()
        if isinstance(module, kinds)
        or (named and any(re.search(named, cls.__name__) for cls in type(module).__mro__))
        for p in module.parameters(recurse=False)
    }


def _names_a_head(model: nn.Module) -> bool:
    """Return whether a parameter has the name of a head; it may be tied, or frozen."""
    names = (name for name, _ in model.named_parameters(remove_duplicate=False))
    return any(re.search(HEADS, plain_name(name)) for name in names)
