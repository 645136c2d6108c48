"""What every language model here is: embedding, blocks, a norm and an untied head.

A family adds its blocks. How weights start and how the loss is computed is said once, here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Generic, TypeVar, overload

import torch
from torch import Tensor, nn

from adana.names import plain_name
from adana.nn.attention import rotary_table
from adana.nn.config import EnokiConfig, ModelConfig, Qwen3Config
from adana.nn.init import SCHEMES, fill, normal, residual_std
from adana.nn.loss import Chunk, LossTerms, head_loss

NORM_EPS = 1e-5
"""Added to the variance by every norm (spec/training.md sections 1.1 and 1.2)."""

C = TypeVar("C", bound=ModelConfig)


class Decoder(nn.Module, Generic[C]):
    """A language model: tokens (batch, time) to logits (batch, time, vocab_size), or to losses.

    `blocks` are what is compiled, sharded and recomputed one by one; the rest (`embedding`, `norm`,
    `head`) belongs to the root. Shard the head with the root, not apart: a chunked loss reads its
    weight without calling it.
    """

    config_type: ClassVar[type]
    residual: ClassVar[tuple[str, ...]] = ()
    """Endings of the names of the matrices that write to the residual stream."""

    def __init__(self, config: C, blocks: Iterable[nn.Module], norm: nn.Module) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm
        self.head = nn.Linear(config.width, config.vocab_size, bias=False)

    @classmethod
    def check(cls, config: ModelConfig) -> None:
        """Raise `TypeError` if `config` is another family's."""
        if not isinstance(config, cls.config_type):
            raise TypeError(
                f"{cls.__name__} is built from a {cls.config_type.__name__}, got a "
                f"{type(config).__name__}; build_model picks the model of a configuration"
            )

    # --- weights ----------------------------------------------------------------------------------

    @torch.no_grad()
    def init_weights(self, seed: int) -> None:
        """Set every parameter and every buffer that checkpoints leave out.

        Weights are a function of `seed` and the parameter's name. Works on plain tensors and on
        `DTensor`s, of which each rank fills its own part; so a model built on the meta device,
        sharded, and given memory by `to_empty` starts as the same model built whole.
        """
        for name, p in self.named_parameters():
            fill(p, self.initial_value(plain_name(name), p.shape, seed))

    def initial_value(self, name: str, shape: torch.Size, seed: int) -> Tensor:
        """Return the whole initial value of the parameter `name`, float32 on the CPU."""
        if len(shape) < 2:
            return torch.ones(shape, device="cpu")
        scheme = SCHEMES[self.config.init]
        std = (scheme.embedding if name == "embedding.weight" else scheme.matrix)(shape[1])
        if scheme.scale_residual and name.endswith(self.residual):
            std = residual_std(std, self.config.depth)
        return normal(shape, std, seed, name)

    # --- what is computed -------------------------------------------------------------------------

    @overload
    def forward(self, tokens: Tensor) -> Tensor: ...
    @overload
    def forward(
        self, tokens: Tensor, targets: Tensor, z_coeff: float = 0.0, chunk: Chunk = None
    ) -> LossTerms: ...
    def forward(
        self,
        tokens: Tensor,
        targets: Tensor | None = None,
        z_coeff: float = 0.0,
        chunk: Chunk = None,
    ) -> Tensor | LossTerms:
        """Return next-token logits for int64 `tokens` of shape (batch, time), or the losses.

        Args:
            tokens: the text.
            targets: int64 of the same shape, the token that follows each. With them the answer is
                `LossTerms` instead of logits.
            z_coeff: weight of mean(logsumexp(logits)^2) in the loss.
            chunk: how the head's logits are made: None all at once; a number, so many tokens at a
                time, which saves their memory; "liger" by Liger's kernel (`head_loss` says more).

        Raises:
            ValueError: more tokens than the model was built for.
        """
        x = self.norm(self.run_blocks(tokens))
        if targets is None:
            return self.head(x)
        return head_loss(self.head, x, targets, z_coeff, chunk)

    def run_blocks(self, tokens: Tensor) -> Tensor:
        """Return the residual stream after the last block, (batch, time, width)."""
        time = tokens.shape[1]
        if time > self.config.sequence_length:
            raise ValueError(
                f"got {time} tokens, the model was built for at most {self.config.sequence_length}"
            )
        x, beside = self.embedding(tokens), self.block_inputs(time)
        for block in self.blocks:
            x = block(x, *beside)
        return x

    def block_inputs(self, time: int) -> tuple[Tensor, ...]:
        """Return what every block gets beside the residual stream."""
        return ()


T = TypeVar("T", bound=EnokiConfig | Qwen3Config)


class RotaryDecoder(Decoder[T]):
    """A `Decoder` whose blocks need the rotary positions."""

    rotary: Tensor

    def __init__(self, config: T, blocks: Iterable[nn.Module], norm: nn.Module) -> None:
        super().__init__(config, blocks, norm)
        self.register_buffer("rotary", self._rotary_table(), persistent=False)

    def _rotary_table(self) -> Tensor:
        return rotary_table(self.config.sequence_length, self.config.head_dim)

    def init_weights(self, seed: int) -> None:
        """Set every parameter, and the rotary table."""
        super().init_weights(seed)
        fill(self.rotary, self._rotary_table())

    def block_inputs(self, time: int) -> tuple[Tensor, ...]:
        """Return the rotary table of the first `time` positions."""
        return (self.rotary[:time],)
