"""The learning-rate laws published with ADana, as data, each with where it holds.

Every law is `a (b + P)^d`, fitted to sweeps of one algorithm, in one architecture, at one batch,
with one kappa (spec/training.md section 3.1). The authors' launcher falls back to the nearest kappa
and to the small batch without a word (spec/reference_gaps.md section 1.9). Here a combination that
nobody fitted is an error that lists what there is.

Laws stand under our name of the algorithm that was run, whatever they were published as: the Enoki
"adana" curves are the published formula (`adana`), the Qwen3 one is Dana-MK4 that never clips,
which is the released variant (`adana-released`; spec/optimizers.md section 1).

Left out: Muon with AdamW on the rest ("d-muon") and "dana-star-mk4-tau", which are no optimizers
here; and Dana-Star, whose entries in the source are copies of Dana-Star-MK4's.
"""

from __future__ import annotations

from dataclasses import dataclass

from adana import schedules

LAW_SEQUENCE = 2048
"""Tokens of a sequence in every run that a law was fitted to."""


@dataclass(frozen=True)
class PublishedLaw:
    """Best peak learning rate `a (b + P)^d` of one algorithm in one setting."""

    family: str
    """Architecture: enoki or qwen3."""
    optimizer: str
    """Our name of the algorithm that was run."""
    kappa: float | None
    """The damping exponent that it was run with; None if the algorithm has none."""
    batch: int
    """Sequences of `LAW_SEQUENCE` tokens in a step of its runs."""
    a: float
    b: float
    d: float
    algorithm: str
    """What the authors ran, and how it differs from ours of that name."""
    omega: float = schedules.OMEGA
    """Weight-decay strength of the runs."""

    def __call__(self, non_embedding: float) -> float:
        """Return the law's peak learning rate at P = `non_embedding` parameters."""
        return self.a * (self.b + non_embedding) ** self.d

    @property
    def tokens_per_step(self) -> int:
        """Tokens of a step of the runs that it was fitted to."""
        return self.batch * LAW_SEQUENCE

    @property
    def formula(self) -> str:
        """The law in numbers."""
        return f"{self.a:g} ({self.b:g} + P)^{self.d:g}"

    @property
    def counts(self) -> str:
        """Which P it was fitted against."""
        return P_CONVENTIONS[self.family]

    @property
    def fitted(self) -> tuple[int, int] | None:
        """Smallest and largest P whose learning rate was swept; None where no source says."""
        return FITTED.get((self.family, self.batch))


P_CONVENTIONS = {
    "enoki": "P = 12 d^2 L, without norms",
    "qwen3": "P = L (14 d^2 + 2 head_dim + 2 d) + d, with norms (not the launcher's 12 d^2 L)",
}
"""What P means in the laws of a family (spec/training.md sections 2 and 3.1)."""

FITTED = {("enoki", 32): (7_077_888, 509_607_936)}
"""Range of P that was swept, by family and batch: H = 6 to 24 (spec/training.md section 2). For the
others no range is published."""

_ADAMW = "torch.optim.AdamW, betas (0.9, 0.999), weight_decay = omega/(lr T)"
_LOG_DECAY = "AdamW with decay omega/(T/10 + t), taken after the update (ours: before)"
_ADANA = "the published formula (c = 0, decay before the update), as ours"
_RELEASED = (
    "published as adana, but run as Dana-MK4 with the clip off (c = 1, decay after the update), "
    "which is the released variant; likely, not certain"
)
_MK4 = "Dana-MK4 (c = 1, decay after the update; ours: before), clip_snr {}"
_STAR = "Dana-Star-MK4 (c = 1, decay after the update; ours: before), clip_snr {}"
_ADEMAMIX = "AdEMAMix with both warm-ups over T and alpha = T^(1 - kappa), decay {}"

LAWS = (
    PublishedLaw("enoki", "adamw", None, 32, 12.8, 1.67e4, -0.515, _ADAMW),
    PublishedLaw("enoki", "adamw-log-decay", None, 32, 65.7, 9.83e3, -0.608, _LOG_DECAY),
    PublishedLaw("enoki", "adana", 0.75, 32, 12.7, 9.55e3, -0.624, _ADANA),
    PublishedLaw("enoki", "adana", 0.80, 32, 17.6, 3.66e4, -0.624, _ADANA),
    PublishedLaw("enoki", "adana", 0.85, 32, 22.5, 1.22e5, -0.618, _ADANA),
    PublishedLaw("enoki", "adana", 0.90, 32, 68.9, 2.95e4, -0.667, _ADANA),
    PublishedLaw("enoki", "dana-mk4", 0.75, 32, 56.0, 5.71e3, -0.708, _MK4.format("2")),
    PublishedLaw("enoki", "dana-mk4", 0.85, 32, 23.0, 1.46e4, -0.627, _MK4.format("0.25")),
    PublishedLaw("enoki", "dana-star-mk4", 0.75, 32, 41.0, 3.03e4, -0.661, _STAR.format("2")),
    PublishedLaw("enoki", "dana-star-mk4", 0.85, 32, 223.0, 2.40e6, -0.724, _STAR.format("0.25")),
    PublishedLaw("enoki", "ademamix", 0.85, 32, 4.51, 6.71e3, -0.503, _ADEMAMIX.format("omega/T")),
    PublishedLaw(
        *("enoki", "ademamix-log-decay", 0.85, 32, 7.28, 8.43e3, -0.525),
        _ADEMAMIX.format("omega/(T/10 + t)"),
    ),
    PublishedLaw("enoki", "adamw", None, 512, 16.7, 1.58e7, -0.464, _ADAMW),
    PublishedLaw("enoki", "adana", 0.85, 512, 85.3, 3.04e4, -0.654, _ADANA),
    PublishedLaw("enoki", "dana-mk4", 0.85, 512, 2.47e3, 2.24e7, -0.826, _MK4.format("0.25")),
    PublishedLaw("enoki", "dana-star-mk4", 0.85, 512, 310.0, 1.40e4, -0.701, _STAR.format("0.25")),
    PublishedLaw("qwen3", "adamw", None, 32, 2.16e4, 7.20e4, -0.873, _ADAMW),
    PublishedLaw("qwen3", "adana-released", 0.85, 32, 3.17, 3.99e4, -0.553, _RELEASED),
    PublishedLaw("qwen3", "dana-mk4", 0.85, 32, 1.20, 3.44e4, -0.501, _MK4.format("0.25")),
    PublishedLaw("qwen3", "dana-star-mk4", 0.85, 32, 93.9, 1.71e4, -0.701, _STAR.format("0.25")),
)
"""Every published law whose algorithm is an optimizer of this package, at omega = 4."""


def matching_laws(family: str, optimizer: str, kappa: float | None) -> list[PublishedLaw]:
    """Return the laws of an optimizer with this kappa in this architecture, one for each batch.

    `kappa` is None for an optimizer that does not read it.
    """
    return [
        law for law in LAWS if (law.family, law.optimizer, law.kappa) == (family, optimizer, kappa)
    ]


def find_law(
    family: str, optimizer: str, kappa: float | None, tokens_per_step: int
) -> PublishedLaw:
    """Return the law fitted to exactly this combination.

    `kappa` is None for an optimizer that does not read it. A batch is counted in tokens: 64
    sequences of 1024 are the same batch as 32 of 2048.

    Raises:
        NoLawError: nobody published one; the message says what is near, and all there is.
    """
    matching = matching_laws(family, optimizer, kappa)
    for law in matching:
        if law.tokens_per_step == tokens_per_step:
            return law
    raise NoLawError(family, optimizer, kappa, tokens_per_step if matching else None)


class NoLawError(ValueError):
    """No law is published for a combination; the message lists what there is."""

    def __init__(
        self,
        family: str,
        optimizer: str,
        kappa: float | None,
        tokens_per_step: int | None = None,
        *,
        advice: str = "",
    ) -> None:
        """Say it, with `advice` on what to do.

        `tokens_per_step` is given where that alone is why no law fits.
        """
        self.batches = [law.batch for law in matching_laws(family, optimizer, kappa)]
        """Sequences in a step of the laws that differ in nothing but the batch."""
        at = "" if kappa is None else f" at kappa {kappa:g}"
        why = ""
        if tokens_per_step is not None:
            batches = " and ".join(f"{batch} x {LAW_SEQUENCE}" for batch in self.batches)
            why = (
                f" with {tokens_per_step:,} tokens a step: its laws are for {batches}, and the "
                "best rate depends on it"
            )
        parts = [
            f"no rule gives a learning rate for {optimizer}{at} in {family}{why}.",
            advice,
            _MOVED.get((family, optimizer), ""),
            _published(family),
        ]
        super().__init__(" ".join(part for part in parts if part))
        self._combination = (family, optimizer, kappa, tokens_per_step)

    def advise(self, advice: str) -> NoLawError:
        """Return the same error with advice on what to do."""
        return NoLawError(*self._combination, advice=advice)


_MOVED = {
    ("qwen3", "adana"): (
        "The Qwen3 law published as adana belongs to adana-released: those runs were Dana-MK4 with "
        "the clip off (spec/optimizers.md section 1)."
    ),
}


def _published(family: str) -> str:
    known = [law for law in LAWS if law.family == family]
    if not known:
        return f"None is published for {family} at all."
    batches = sorted({law.batch for law in known})
    listed = (
        f"at {batch} x {LAW_SEQUENCE} tokens a step {_listed(known, batch)}" for batch in batches
    )
    return f"Published for {family}: {'; '.join(listed)}."


def _listed(laws: list[PublishedLaw], batch: int) -> str:
    kappas: dict[str, list[str]] = {}
    for law in laws:
        if law.batch == batch:
            own = kappas.setdefault(law.optimizer, [])
            own += [] if law.kappa is None else [f"{law.kappa:g}"]
    return ", ".join(
        f"{name} at kappa {' or '.join(own)}" if own else name for name, own in kappas.items()
    )
