"""A folder that transformers reads: weights, configuration, tokenizer and model card."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from adana.data import Tokenizer
from adana.hf.config import AdanaConfig
from adana.hf.model import AdanaForCausalLM
from adana.nn import Decoder
from adana.runs import RunError, write_bytes, write_json


def export_model(folder: Path, model: Decoder[Any], tokenizer: Tokenizer, card: str) -> None:
    """Write `model` (of `adana.nn`), its tokenizer and the text of its card to `folder`.

    Whole or not at all: the files are written under another name first.

    Raises:
        RunError: the folder exists and is not empty, or cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} exists already and is not an empty folder; name another one")
    temporary = folder.with_name(f".exporting-{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        temporary.mkdir(parents=True)
        wrap(model, tokenizer).save_pretrained(temporary)
        write_bytes(temporary / "tokenizer.json", tokenizer.to_json().encode())
        write_json(temporary / "tokenizer_config.json", _tokenizer_config(model, tokenizer))
        write_bytes(temporary / "README.md", card.encode())
        if folder.exists():
            folder.rmdir()
        temporary.rename(folder)
    except OSError as error:
        raise RunError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def wrap(model: Decoder[Any], tokenizer: Tokenizer) -> AdanaForCausalLM:
    """Return `model` with the interface of transformers; it shares the weights."""
    end = tokenizer.end_of_text
    config = model.config
    wrapped = AdanaForCausalLM(AdanaConfig.of(config, bos_token_id=end, eos_token_id=end))
    wrapped.model = model
    padding = list(range(tokenizer.vocab_size, config.vocab_size))
    wrapped.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        use_cache=False,
        suppress_tokens=padding or None,
    )
    return wrapped


def _tokenizer_config(model: Decoder[Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """Return what transformers must know besides tokenizer.json to do the same as ours.

    The name of the end of text is ordinary text inside a document, for us and so for it.
    """
    end = tokenizer.decode([tokenizer.end_of_text])
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": end,
        "eos_token": end,
        "pad_token": end,
        "split_special_tokens": True,
        "clean_up_tokenization_spaces": False,
        "padding_side": "right",
        "model_max_length": model.config.sequence_length,
    }
