"""Packages that bring optimizers, installed for one test without pip."""

import sys
from pathlib import Path

from adana.train import installed


class Packages:
    """A folder on the path where packages are put as pip would put them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.modules: set[str] = set()

    def install(self, name: str, files: dict[str, str], optimizers: dict[str, str]) -> None:
        """Put a package there, or put it there anew.

        `optimizers` has what an entry point says by name: ``{"mine": "module:entry"}``.
        """
        for path, text in files.items():
            target = self.folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
            self.modules.add(path.partition("/")[0].removesuffix(".py"))
        about = self.folder / f"{name}-1.0.dist-info"
        about.mkdir(exist_ok=True)
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{key} = {value}" for key, value in optimizers.items()]
        text = "\n".join([f"[{installed.GROUP}]", *lines])
        (about / "entry_points.txt").write_text(text + "\n")
        self.forget()

    def forget(self) -> None:
        """Forget what was found and imported, as a new process would."""
        installed._found.cache_clear()
        installed._fingerprint.cache_clear()
        for name in [n for n in sys.modules if n.partition(".")[0] in self.modules]:
            del sys.modules[name]
