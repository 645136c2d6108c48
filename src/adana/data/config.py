"""What text to train on and how to cut it into tokens: the part of a run's settings about data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final, Literal

from adana.data.split import VALIDATION_FRACTION, VALIDATION_TOKENS

TRAINED = "trained"
"""Name of the tokenizer that is trained on the corpus itself."""

REFUSE: Final = "refuse"
SKIP: Final = "skip"
"""What can be done with rows and files that are no text."""


@dataclass(frozen=True)
class DataConfig:
    """What text to train on and how to cut it into tokens."""

    corpus: str = "python"
    """`python` (the standard library's source, 12 MB), `python-packages` (that and all installed
    packages), a .txt/.md/.py/.jsonl/.parquet file or a folder of them, or a data set of the
    Hugging Face hub: `fineweb-10bt`, `fineweb-100bt`, `hub:OWNER/NAME` or
    `hub:OWNER/NAME/CONFIG`."""
    vocab_size: int = 1024
    """Tokens of the trained tokenizer, end-of-text included, at least 257. A ready-made tokenizer
    has its own number."""
    validation_fraction: float = VALIDATION_FRACTION
    """Share of the text held out for validation, above 0 and at most 0.5."""
    validation_tokens: int = VALIDATION_TOKENS
    """About how many tokens are held out at most: the share of a large corpus is lowered."""
    tokenizer: str = TRAINED
    """`trained` on the corpus itself, `gpt2`, or the path of a byte-level tokenizer.json."""
    text_field: str = "text"
    """Field of .jsonl lines, and column of .parquet files and hub data sets, with the text."""
    hub_split: str = "train"
    """Which split of a hub data set is read; validation is held out of it."""
    limit_documents: int | None = None
    """Use the first so many distinct documents only. Default: all."""
    limit_tokens: int | None = None
    """Stop when there are at least so many training tokens. Default: all."""
    bad_rows: Literal["refuse", "skip"] = REFUSE
    """What is done with rows and files that are no text: ``refuse`` is an error that names the
    first; ``skip`` leaves them out and counts them, unless they are more than a small share."""
    prepared: str | None = None
    """Key of tokens in the cache that are used as they are, if they are there: the settings above
    are then those they were made with (`prepared_config` returns all that), and nothing is read of
    the text. Without them it is prepared, and must be the same text still."""
    fingerprint: str | None = None
    """Fingerprint of the tokens that a run was begun with (`Shards.fingerprint`). Where the text is
    gone, or gives others now, complete tokens in the cache that have it are used. Without such it
    changes nothing."""

    def __post_init__(self) -> None:
        for name in ("limit_documents", "limit_tokens", "validation_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.bad_rows not in (REFUSE, SKIP):
            raise ValueError(f"bad_rows must be {REFUSE} or {SKIP}, got {self.bad_rows!r}")

    def settings(self) -> dict[str, Any]:
        """Return what decides the tokens, as manifests and the keys of the cache have it.

        Settings that came later are in it only where they are not what was done before them: so
        tokens that were made then keep their keys.
        """
        content = dataclasses.asdict(self)
        del content["prepared"], content["fingerprint"]
        if self.bad_rows == REFUSE:
            del content["bad_rows"]
        return content
