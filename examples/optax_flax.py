"""Train a small Flax model with ADana from `adana.optax`: about 10 seconds on a CPU.

    pip install 'adana[jax]' flax
    python examples/optax_flax.py

The model predicts the next character of a text from the eight before it.
"""

from __future__ import annotations

import argparse

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from adana import schedules
from adana.optax import adana, decay_mask

TEXT = """The quick brown fox jumps over the lazy dog, and the dog, being lazy, lets it.
A second fox, quicker and browner than the first, jumps over both of them. """
CONTEXT = 8


class Model(nnx.Module):
    """Embedding, one hidden layer, head."""

    def __init__(self, vocabulary: int, width: int, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(vocabulary, width, rngs=rngs)
        self.hidden = nnx.Linear(CONTEXT * width, 4 * width, rngs=rngs)
        self.norm = nnx.RMSNorm(4 * width, rngs=rngs)
        self.head = nnx.Linear(4 * width, vocabulary, rngs=rngs)

    def __call__(self, context: jax.Array) -> jax.Array:
        """Map characters of shape (batch, CONTEXT) to logits of shape (batch, vocabulary)."""
        x = self.embed(context).reshape(len(context), -1)
        return self.head(self.norm(nnx.gelu(self.hidden(x))))


def loss_of(model: Model, context: jax.Array, target: jax.Array) -> jax.Array:
    """Return the mean cross-entropy in nats a character."""
    return optax.softmax_cross_entropy_with_integer_labels(model(context), target).mean()


@nnx.jit
def train_step(
    model: Model, optimizer: nnx.Optimizer, context: jax.Array, target: jax.Array
) -> jax.Array:
    """Update the model on one batch and return the loss before the update."""
    loss, grads = nnx.value_and_grad(loss_of)(model, context, target)
    optimizer.update(model, grads)
    return loss


def main(steps: int = 200, lr: float = 0.01) -> list[float]:
    """Train and return the loss of each step."""
    characters = sorted(set(TEXT))
    ids = jnp.asarray([characters.index(c) for c in TEXT])
    starts = jnp.arange(len(ids) - CONTEXT)
    contexts, targets = ids[starts[:, None] + jnp.arange(CONTEXT)], ids[starts + CONTEXT]

    model = Model(len(characters), 16, nnx.Rngs(0))
    warmup = schedules.default_warmup_steps(steps)
    optimizer = nnx.Optimizer(
        model,
        adana(
            lambda count: lr * schedules.warmup_cosine(count + 1, steps, warmup),
            peak_lr=lr,  # weight decay follows learning rate / peak
            total_steps=steps,
            mask=decay_mask,  # matrices but not the embedding, the norm and the biases
        ),
        wrt=nnx.Param,
    )
    losses = []
    for step in range(1, steps + 1):
        batch = jax.random.randint(jax.random.key(step), (32,), 0, len(starts))
        losses.append(float(train_step(model, optimizer, contexts[batch], targets[batch])))
        if step == 1 or step % 50 == 0:
            print(f"step {step:4d}  loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--lr", type=float, default=0.01)
    main(**vars(parser.parse_args()))
