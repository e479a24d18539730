"""Each mechanism finds an alignment that it can represent, from the translations alone.

The task: source words are random, target word t says the word at s(t).  The query is a sum of embeddings, of the word
sought and of the places counted from either end; the memory tells each source word by a fixed vector of its own.  The
gradient comes from the words said alone.  The orders, of which the last takes both a centre and a score to find:

    copy     0 1 2 3 4 5 6 7
    turned   2 1 0 5 4 3 7 6   every D + 1 words turned round: some move by D, the most that a window around t holds
    reverse  7 6 5 4 3 2 1 0
    jumbled  6 7 4 3 5 0 2 1   the same groups in reverse, and random order in each

local_p with gaussian=bias finds them in this time only where its centre starts nearby (centre=diagonal): the softmax of
a window without the word sought sums to 1 all the same, and hardly tells p where to go.  From the diagonal local_p has
not found the reverse order after 150 batches either.

local_p with the location score is left out.  Its rows count from floor(p), which jumps where the Gaussian draws p to a
whole number: it finds the order, and loses it again.
"""

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nmt.models.attention import (
    SCORES,
    AttentionConfig,
    BahdanauConfig,
    Centre,
    ConcatSource,
    CoverageConfig,
    Gaussian,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    LocationAwareConfig,
    MixtureForm,
    MixtureWindowConfig,
    MonotonicConfig,
    Sigma,
    StructuralConfig,
    TemporalConfig,
    build_attention,
)
from nmt.models.attention.config import HistoryConfig

WORDS = SIZE = 24
LONGEST = 20
D = 2  # local_m's half width; local_p's is one more
LEARNED, IDENTITY = ConcatSource
COMPARED = [*((score, LEARNED) for score in SCORES if score != "location"), ("concat", IDENTITY)]


def local_p(**options: Any) -> LocalPConfig:
    return LocalPConfig(half_width=D + 1, hidden_size=16, **options)


CASES: list[tuple[AttentionConfig, str]] = [
    *((GlobalConfig(normalizer=normalizer), "reverse") for normalizer in ("sparsemax", "entmax15")),
    *((GlobalConfig(score=score, concat_source=half), "reverse") for score, half in COMPARED),
    *((LocalMConfig(half_width=D, score=score, concat_source=half), "turned") for score, half in COMPARED),
    *((local_p(score=score, concat_source=half), "jumbled") for score, half in COMPARED),
    (local_p(sigma=Sigma.learned), "jumbled"),
    (local_p(renormalize=True), "jumbled"),
    (local_p(centre=Centre.diagonal), "copy"),
    *product((local_p(centre=Centre.diagonal, gaussian=Gaussian.bias),), ("copy", "turned")),
    (local_p(centre=Centre.diagonal, gaussian=Gaussian.bias, sigma=Sigma.learned, sigma_start=6.0), "turned"),
    *product((BahdanauConfig(hidden_size=32), HardConfig(), local_p(), local_p(renormalize=True)), ("copy", "reverse")),
    *product((GlobalConfig(), LocalMConfig(half_width=D)), ("copy",)),
    *product((GlobalConfig(score="location", max_source=LONGEST),), ("copy", "reverse")),
    (HardConfig(score="location", max_source=LONGEST), "reverse"),
    (CoverageConfig(hidden_size=32), "reverse"),
    (CoverageConfig(hidden_size=32, max_fertility=2.0), "reverse"),
    (LocationAwareConfig(hidden_size=32), "reverse"),
    (StructuralConfig(hidden_size=32), "reverse"),
    (TemporalConfig(), "reverse"),
    (MonotonicConfig(hidden_size=32), "copy"),
    *((MixtureWindowConfig(form=form), "copy") for form in MixtureForm),
    (LocalMConfig(half_width=D, score="location"), "turned"),
]


def sources(order: str, real: Tensor) -> Tensor:
    """s(t) for each target place (B, T) of sentences whose places are ``real``."""
    t = torch.arange(real.size(1)).expand(real.shape)
    group = t // (D + 1)
    rank = {
        "copy": t,
        "turned": group - t / 100,
        "reverse": -t,
        "jumbled": -group + torch.rand(real.shape),
    }[order]
    return rank.double().masked_fill(~real, torch.inf).argsort(1)


def small_embedding(count: int) -> nn.Embedding:
    """Vectors so short that every score is near 0 at first, and every place as likely."""
    return nn.Embedding.from_pretrained(0.1 * torch.randn(count, SIZE), freeze=False)


class Task(nn.Module):
    """Attention to words, which are orthogonal vectors; what it says are the words of the context."""

    words: Tensor

    def __init__(self, config: AttentionConfig, order: str) -> None:
        super().__init__()
        self.order = order
        self.sought, self.from_start, self.to_end = map(small_embedding, (WORDS, LONGEST, LONGEST))
        self.register_buffer("words", nn.init.orthogonal_(torch.empty(WORDS, SIZE)) * SIZE**0.5)
        attention = build_attention(config, SIZE, SIZE)
        assert attention is not None
        self.attention = attention

    def forward(self) -> tuple[Tensor, Tensor]:
        """Loss of a random batch, and the share of words whose heaviest source position is wrong."""
        B, T = 32, LONGEST
        lengths = torch.randint(3, LONGEST + 1, (B,))
        source = torch.stack([torch.randperm(WORDS)[:T] for _ in range(B)])  # no word twice in a source
        t = torch.arange(T).expand(B, T)
        to_end = lengths[:, None] - 1 - t
        real = to_end >= 0
        aligned = sources(self.order, real)
        target = source.gather(1, aligned)
        query = self.sought(target) + self.from_start(t) + self.to_end(to_end.clamp(min=0))
        memory = self.attention.prepare(self.words[source], lengths)
        out = (self.attention if memory.carried is None else self.attention.in_turn)(query, memory, torch.arange(T))
        said = out.context @ self.words.T / SIZE  # 1 for the word that has all the weight
        loss = nn.functional.cross_entropy(10 * said[real], target[real])
        wrong = out.dense_weights(T).argmax(2) != aligned
        return loss, wrong[real].float().mean()


def alignment_error(config: AttentionConfig, order: str, batches: int = 150) -> float:
    """The error on words that were not trained on, after so many batches."""
    task = Task(config, order)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(batches):
        optimizer.zero_grad()
        task()[0].backward()
        optimizer.step()
    task.eval()
    with torch.no_grad():
        return float(task()[1])


def case_name(value: AttentionConfig | str) -> str:
    fields = [value] if isinstance(value, str) else vars(value).values()
    return "-".join(str(getattr(field, "name", field)) for field in fields)


def timed(config: AttentionConfig, order: str) -> Any:
    """A case; what attends to one target position after the other takes several times as long, and is a slow test."""
    after_one_another = isinstance(config, HistoryConfig | TemporalConfig | MonotonicConfig | MixtureWindowConfig)
    return pytest.param(config, order, marks=[pytest.mark.slow] * after_one_another)


@pytest.mark.parametrize(("config", "order"), [timed(*case) for case in CASES], ids=case_name)
def test_the_alignment_is_found(config: AttentionConfig, order: str):
    torch.manual_seed(0)
    assert alignment_error(config, order) < 0.05


def test_what_lies_outside_the_window_is_not_found():
    torch.manual_seed(0)
    assert alignment_error(LocalMConfig(half_width=D), "reverse") > 0.4


@pytest.mark.slow
def test_chunks_of_a_monotonic_walk_take_longer():
    """MoChA has two scores to learn, and its walk has to stop at every word; it is not found in 150 batches."""
    torch.manual_seed(0)
    assert alignment_error(MonotonicConfig(hidden_size=32, chunk=3, noise=0.5), "copy", batches=260) < 0.05
