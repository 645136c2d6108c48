"""The models of `adana.nn` with the interface of transformers, `generate` and all."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any, NoReturn

import torch
from torch import Tensor, nn
from transformers import GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils import can_return_tuple

from adana.hf.config import AdanaConfig
from adana.hf.refusals import GENERATE_FROM_EQUAL_LENGTHS, NOT_RETURNED, check_arguments
from adana.nn import build_model


class AdanaForCausalLM(PreTrainedModel, GenerationMixin):
    """A language model of any family; `model` is the module of `adana.nn` itself.

    There is no cache of keys and values: every token that is generated runs the model over the
    whole context, cropped to the length it was built for.
    """

    config_class = AdanaConfig
    base_model_prefix = ""
    _supports_sdpa = True

    def __init__(self, config: AdanaConfig) -> None:
        super().__init__(config)
        self.model = build_model(config.model_config, seed=None)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """Return next-token logits for int64 `input_ids` of shape (batch, time).

        With `labels` (the same tokens; -100 where there is nothing to predict) also the mean
        cross-entropy of each token given those before it. Padding must be on the right, where the
        model cannot see it. `return_dict=False` gives a tuple, as everywhere in transformers.

        Raises:
            TypeError: an argument that no language model has, or no tokens.
            ValueError: an argument that would be ignored where it changes the result elsewhere:
                positions of one's own, a mask of what each token sees, embeddings in place of
                tokens, a cache, hidden states or attentions to be returned.
        """
        check_arguments(input_ids, attention_mask, kwargs)
        logits = self.model(input_ids)
        loss = None
        if labels is not None:
            counted = kwargs.get("num_items_in_batch")
            loss = self.loss_function(
                logits, labels, vocab_size=logits.shape[-1], num_items_in_batch=counted
            )
        return CausalLMOutput(loss=loss, logits=logits)

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Return the inputs of the next step: the newest tokens that fit the model.

        Raises:
            ValueError: a prompt ends in padding, which would be continued.
        """
        if attention_mask is not None and not bool(attention_mask[:, -1].all()):
            raise ValueError(GENERATE_FROM_EQUAL_LENGTHS)
        context = self.config.max_position_embeddings
        mask = None if attention_mask is None else attention_mask[:, -context:]
        asked = {name: kwargs[name] for name in NOT_RETURNED if name in kwargs}
        return {"input_ids": input_ids[:, -context:], "attention_mask": mask, **asked}

    def get_input_embeddings(self) -> nn.Module:
        """Return the embedding."""
        return self.model.embedding

    def get_output_embeddings(self) -> nn.Module:
        """Return the head."""
        return self.model.head

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse: the sizes are those of the training."""
        raise NotImplementedError(
            "the vocabulary of an adana model cannot be resized; train one with another "
            "--vocab-size"
        )

    @torch.no_grad()
    def initialize_weights(self) -> None:
        """Fill what a checkpoint did not: parameters by name and seed, and tables of positions.

        transformers calls this when it has loaded what there is, and marked those tensors.
        """
        parameters = _missing(self.model.named_parameters())
        buffers = _missing(self.model.named_buffers())
        config, seed = self.config.model_config, self.config.seed
        if not parameters:
            # Only tables are missing, which neither depth nor vocabulary changes: make no weights.
            config, seed = dataclasses.replace(config, layers=1, vocab_size=1), None
        with torch.device("cpu"):
            fresh = build_model(config, seed)
        filled = {**dict(fresh.named_parameters()), **dict(fresh.named_buffers())}
        for name, tensor in {**parameters, **buffers}.items():
            tensor.copy_(filled[name])


def _missing(tensors: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Return those that transformers has not marked as loaded."""
    return {name: t for name, t in tensors if not getattr(t, "_is_hf_initialized", False)}
