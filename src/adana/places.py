"""Where files that can be made again are kept."""

import os
import stat
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


def folder_of_code(folder: Path) -> Path:
    """Return a folder for code that later processes load, made for the user alone if it is new.

    Raises:
        PermissionError: it is not the user's, or everyone may write to it, so that what lies there
            may be anyone's; or it cannot be made.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not is_ours(folder) or folder.stat().st_mode & stat.S_IWOTH:
        raise PermissionError(f"{folder} is another user's, or everyone may write to it")
    return folder


def is_ours(path: Path) -> bool:
    """Return whether a file or folder is the user's or root's."""
    return not hasattr(os, "geteuid") or path.stat().st_uid in (0, os.geteuid())
