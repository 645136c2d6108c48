"""Packages that only some corpora need, imported when they are."""

from __future__ import annotations

import importlib
from typing import Any

from adana.data.errors import Unavailable


def need(module: str, purpose: str) -> Any:
    """Import a module of the extra ``data``; `Unavailable` says what to install if it is missing.

    `purpose` begins the message: what cannot be done without it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise Unavailable(
            f'{purpose} needs {package}, which is not installed: pip install "adana[data]"'
        ) from error
