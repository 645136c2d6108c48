"""`adana train --config`: a training described by the config.json of another, not by flags."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from adana.cli.data_flags import OF_TOKENS
from adana.data import Shards, prepared_config
from adana.runs import RunError, read_config
from adana.train import TrainConfig, config_from_dict


def given_config(path: Path) -> tuple[TrainConfig, str]:
    """Return what a config.json describes, and the fingerprint of the tokens it is trained on.

    `path` may be the run directory that the file lies in. The data of the configuration know the
    fingerprint too, so that `prepare` takes the tokens in the cache where their text is gone.

    Raises:
        RunError: the file cannot be read, is no configuration, or is another version's.
        ValueError: a value is out of its range.
    """
    path = path / "config.json" if path.is_dir() else path
    content = read_config(path)
    data = content.get("data")
    if not isinstance(data, dict) or "fingerprint" not in data:
        raise RunError(
            f"{path} does not say what it is trained on: it is no run's config.json. Give --config "
            "a run directory, or the config.json in it"
        )
    config = config_from_dict(content)
    known = dataclasses.replace(config.data, fingerprint=data["fingerprint"])
    return dataclasses.replace(config, data=known), data["fingerprint"]


def refuse_flags(arguments: Any, allowed: frozenset[str]) -> None:
    """Raise `ValueError` if a flag was given beside --config that is not among `allowed`.

    What the KEY of --data fills in is not named: nobody gave it.
    """
    filled_in = OF_TOKENS if prepared_config(arguments.data) else ()
    flags = [
        f"--{field.name.replace('_', '-')}"
        for field in dataclasses.fields(arguments)
        if field.name not in (*allowed, *filled_in)
        and getattr(arguments, field.name) != field.default
    ]
    if flags:
        raise ValueError(
            f"--config says what is trained, so {', '.join(flags)} cannot be given beside it. "
            "Leave that out, or give all settings as flags and no --config"
        )


def check_text(config: TrainConfig, fingerprint: str, shards: Shards) -> None:
    """Raise `RunError` if the tokens at hand are not those that a config.json was made for."""
    if shards.fingerprint != fingerprint:
        raise RunError(
            f"the text {config.data.corpus!r} here is not what --config was made for (fingerprint "
            f"{shards.fingerprint[:16]}, not {fingerprint[:16]}): it has changed since, or comes "
            "from another version of Python. Give the settings as flags to train on this one"
        )
