"""Where files that can be made again are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return ``$ADANA_CACHE``, else ``$XDG_CACHE_HOME/adana``, else ``~/.cache/adana``.

    Raises:
        RuntimeError: the user has no home.
    """
    if chosen := os.environ.get("ADANA_CACHE"):
        return Path(chosen).expanduser()
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared).expanduser() / "adana"
    return Path.home() / ".cache" / "adana"
