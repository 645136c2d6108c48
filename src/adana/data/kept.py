"""The tokenizer of a run: kept in its directory, so that the run can speak without its data."""

from __future__ import annotations

from pathlib import Path

from adana.data.config import TRAINED
from adana.data.errors import ShardError
from adana.data.shards import MANIFEST, TOKENIZER, open_shards
from adana.data.tokenizer import Tokenizer
from adana.places import cache_folder
from adana.runs import Run, RunError, read_json, write_bytes


def save_tokenizer(run: Run, tokenizer: Tokenizer) -> None:
    """Write ``tokenizer.json`` into the run directory; `RunError` if that is impossible."""
    write_bytes(run.path / TOKENIZER, tokenizer.to_json().encode())


def run_tokenizer(run: str | Path | Run, cache: Path | None = None) -> Tokenizer:
    """Return the tokenizer that made the tokens `run`, a run directory, was trained on.

    From the run directory; for a run that keeps none, from the prepared data in `cache` (default
    `cache_folder()`) that has the fingerprint of the run's.

    Raises:
        RunError: it is in neither place, or the file is no tokenizer.
    """
    run = run if isinstance(run, Run) else Run(Path(run))
    path = run.path / TOKENIZER
    if path.exists():
        try:
            return Tokenizer.from_json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(f"{path} cannot be used: {error}") from error
    data = run.config().get("data", {})
    cache = cache or cache_folder()
    trained = data.get("tokenizer", TRAINED) == TRAINED
    for folder in sorted(manifest.parent for manifest in cache.glob(f"*/{MANIFEST}")):
        tokenizer = _if_same_data(
            folder, data.get("fingerprint"), data.get("vocab_size") if trained else None
        )
        if tokenizer is not None:
            return tokenizer
    raise RunError(
        f"{run.path} has no {TOKENIZER}, and its data (corpus {data.get('corpus')!r}, vocabulary "
        f"{data.get('vocab_size')}) is not in {cache}. Prepare it again with `adana data --data "
        f"{data.get('corpus')} --vocab-size {data.get('vocab_size')}`, or put the {TOKENIZER} of "
        "the data into the run directory."
    )


def _if_same_data(
    folder: Path, fingerprint: str | None, vocab_size: int | None
) -> Tokenizer | None:
    """Return the tokenizer of prepared data, if it is whole and of this fingerprint."""
    try:
        if vocab_size is not None and read_json(folder / MANIFEST)["vocab_size"] != vocab_size:
            return None  # spares checking all of the tokens
        shards = open_shards(folder)
    except (ShardError, RunError, KeyError, TypeError):
        return None
    return shards.tokenizer if shards.fingerprint == fingerprint else None
