"""The LSTM language model: what DANA was first tried on, and a model without attention.

The published experiment gives no shape to copy, so this is the plain choice in the frame that the
transformers have: pre-norm residual blocks, each a `torch.nn.LSTM` of the width of the stream. The
norms let the initialisations of the transformers serve here too: under scaled-gpt an embedding row
has length 1, and a bare stack of LSTMs would shrink it further with every layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adana.nn.config import LSTMConfig
from adana.nn.decoder import NORM_EPS, Decoder

CPU_BFLOAT16 = torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether torch has an LSTM in bfloat16 for this CPU; on others it raises `RuntimeError`."""


class Block(nn.Module):
    """x + LSTM(LayerNorm(x)), from a zero state at the start of every window.

    The LSTM keeps torch's two bias vectors, which only ever act as their sum, because its fast
    kernels want both. They start at 0, but for the forget gate's in the first, which starts at 1: a
    memory that begins by forgetting half at every token learns slowly (Jozefowicz et al., 2015).
    """

    def __init__(self, config: LSTMConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width, eps=NORM_EPS, bias=False)
        self.lstm = nn.LSTM(config.width, config.width, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, time, width) to the same shape.

        Under autocast on a CPU without bfloat16 the LSTM computes in float32.
        """
        inner = self.norm(x)
        if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and not CPU_BFLOAT16:
            with torch.autocast("cpu", enabled=False):
                return x + self.lstm(inner.float())[0]
        return x + self.lstm(inner)[0]


class LSTMModel(Decoder[LSTMConfig]):
    """The language model. With `seed` None the weights are left as torch made them."""

    config_type = LSTMConfig

    def __init__(self, config: LSTMConfig, seed: int | None = 0) -> None:
        self.check(config)
        norm = nn.LayerNorm(config.width, eps=NORM_EPS, bias=False)
        super().__init__(config, (Block(config) for _ in range(config.depth)), norm)
        if seed is not None:
            self.init_weights(seed)

    def initial_value(self, name: str, shape: torch.Size, seed: int) -> Tensor:
        """Return the whole initial value of the parameter `name`, float32 on the CPU."""
        if ".bias_" not in name:
            return super().initial_value(name, shape, seed)
        bias = torch.zeros(shape, device="cpu")
        if name.endswith("bias_ih_l0"):
            _, forget, _, _ = bias.chunk(4)  # torch's order: input, forget, cell, output
            forget.fill_(1.0)
        return bias
