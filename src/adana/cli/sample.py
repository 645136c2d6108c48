"""`adana sample`: text from a trained model."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro

from adana.cli.run_folders import RUNS
from adana.data import Tokenizer, run_tokenizer
from adana.nn.generate import generate
from adana.report import find_run
from adana.train import load_trained, pick_device

BROKEN = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer shows for the first bytes of a character whose rest is not there yet."""

LONGEST_WAIT = 8
"""Tokens after which bytes that are no character are shown as such."""


@dataclass(frozen=True)
class SampleArguments:
    """Write text with a trained model, shown as it is made.

    Small models that saw little text write little sense; this shows what one has learned.
        adana sample adana-T1200-s0 --prompt "def " --temperature 0.8 --top-k 50
    """

    run: Annotated[str, tyro.conf.Positional]
    """Beginning of the run's name below --runs, or of its identity; or a path."""
    prompt: str = ""
    """How the text begins. Default: the start of a document."""
    tokens: int = 200
    """Tokens to write at most; the end of a document ends the text earlier."""
    temperature: float = 0.8
    """Below 1 keeps to the likely, above 1 takes risks; 0 takes the likeliest token each time."""
    top_k: int | None = None
    """Draw among this many likeliest tokens only. Default: all."""
    top_p: float | None = None
    """Draw among the likeliest tokens that together have this probability. Default: all."""
    seed: int = 0
    """Another seed, another text."""
    step: int | None = None
    """Take the checkpoint of this step. Default: the newest."""
    average: str | None = None
    """In place of the weights, an average of them by its name in --averages, as ema:0.999."""
    runs: Path = RUNS
    """Folder of the run directories."""
    device: str = "cpu"
    """cpu, cuda, ...; auto takes a GPU if there is one."""


def sample_command(arguments: SampleArguments) -> int:
    """Run `adana sample`; return the exit code."""
    run = find_run(arguments.runs, arguments.run)
    tokenizer = run_tokenizer(run)
    device = pick_device(arguments.device)
    model = load_trained(run, arguments.step, average=arguments.average).to(device)
    drawn = generate(
        model,
        torch.tensor([prompt_ids(tokenizer, arguments.prompt)], device=device),
        arguments.tokens,
        temperature=arguments.temperature,
        top_k=arguments.top_k,
        top_p=arguments.top_p,
        generator=torch.Generator(device).manual_seed(arguments.seed),
        vocab_size=tokenizer.vocab_size,
        stop=tokenizer.end_of_text,
    )

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    writer = Writer(tokenizer, write)
    write(arguments.prompt)
    for token in drawn:
        writer.take(int(token))
    writer.end()
    write("\n")
    return 0


def prompt_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """Return the tokens of a prompt; an empty one is what stands before every document.

    Raises:
        ValueError: the prompt is no text: bytes that the terminal's encoding does not have.
    """
    try:
        prompt.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f"--prompt {prompt!r} is no valid text in the encoding of this environment. Give it in "
            "UTF-8, in a locale that has it, as LC_ALL=C.UTF-8"
        ) from error
    (ids,) = tokenizer.encode_documents([prompt])
    return [int(i) for i in ids] or [tokenizer.end_of_text]


class Writer:
    """Turns tokens into text as they come, and never writes half a character."""

    def __init__(self, tokenizer: Tokenizer, write: Callable[[str], None]) -> None:
        self.tokenizer, self.write = tokenizer, write
        self._ids: list[int] = []
        self._written = 0

    def take(self, token: int) -> None:
        """Write what is certain after one more token; the end of text is not written."""
        if token == self.tokenizer.end_of_text:
            return
        self._ids.append(token)
        text = self.tokenizer.decode(self._ids)
        whole = text.rstrip(BROKEN) if len(self._ids) <= LONGEST_WAIT else text
        if len(whole) > self._written:
            self.write(whole[self._written :])
            self._written = len(whole)
        if whole == text:
            self._ids, self._written = [], 0

    def end(self) -> None:
        """Write what is left, broken or not."""
        if self._ids:
            self.write(self.tokenizer.decode(self._ids)[self._written :])
