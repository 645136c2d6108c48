"""The model card of an exported run: what it is, what it scored, how it was made."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from adana.report import words
from adana.report.records import flatten, number
from adana.runs import Run, identity

FRONT = """---
library_name: transformers
pipeline_tag: text-generation
tags:
- adana
---
"""

USE = """## Use

```python
import adana.hf  # pip install "adana[hf]"; registers the model, no remote code
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("FOLDER")
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
inputs = tokenizer("def ", return_tensors="pt", return_token_type_ids=False)
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=50)[0]))
```

There is no cache of keys and values: a token costs a pass over the context. Pad on the right only.
"""


def model_card(run: Run, step: int) -> str:
    """Return the card of `run` with the weights after `step` steps, as Markdown.

    Numbers are the run's own records; where it did not finish, the card says so.
    """
    config, summary = run.config(), run.summary() or {}
    planned = int(config["steps"])
    label = config["optimizer"].get("label") or config["optimizer"]["name"]
    corpus = config.get("data", {}).get("corpus", "unknown data")
    model = config.get("model", {})
    parts = [
        FRONT,
        f"# {run.name}\n",
        f"A language model of the family {model.get('family')}, trained for {step:,} of "
        f"{planned:,} steps on `{corpus}` with the optimizer {label} by "
        f"adana. Run identity `{identity(config)}`.\n",
        "## Results\n",
        _results(run, step, planned, summary),
        USE,
        "## Settings\n",
        _table(("setting", "value"), flatten(config).items()),
        "## Environment\n",
        _table(("what", "value"), flatten(run.environment()).items()),
    ]
    return "\n".join(parts)


def _results(run: Run, step: int, planned: int, summary: Mapping[str, Any]) -> str:
    """Return the final numbers, or what is known of the step that was exported."""
    if step == planned and number(summary, "val_loss") is not None:
        rows = {
            "validation loss (nats a token)": words.decimal(number(summary, "val_loss"), 4),
            "its sampling error": words.decimal(number(summary, "val_loss_document_se"), 4),
            "perplexity": words.decimal(number(summary, "perplexity"), 2),
            "bits per byte": words.decimal(number(summary, "bits_per_byte"), 4),
            "training tokens": words.grouped(number(summary, "tokens")),
            "parameters without embeddings": words.grouped(
                number(summary, "non_embedding_parameters")
            ),
            "all parameters": words.grouped(number(summary, "exact_parameters")),
            "training time (s)": words.grouped(number(summary, "seconds")),
        }
        return _table(("number", "value"), rows.items())
    at = [row for row in run.metrics() if "val_loss" in row and row["step"] <= step]
    if not at:
        return "Not evaluated yet.\n"
    loss = words.decimal(number(at[-1], "val_loss"), 4)
    return (
        f"An intermediate state. Validation loss {loss} nats a token at step {at[-1]['step']:,}, "
        "the last evaluation up to it.\n"
    )


def _table(head: tuple[str, str], rows: Iterable[tuple[str, Any]]) -> str:
    lines = [head, ("---", "---"), *((key, _cell(value)) for key, value in rows)]
    return "\n".join(f"| {key} | {value} |" for key, value in lines) + "\n"


def _cell(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return " ".join(text.replace("|", "\\|").split())
