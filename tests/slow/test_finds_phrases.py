"""Each mechanism finds the alignment of the embedded phrases, from the translations alone.

The words of German phrases are to be said from their English sources.  The query tells the word sought (its embedding)
and where it stands; the memory tells each source word and where it stands, but only the word can be heard: else a
place could be a sign for a target word.  The gradient comes from the words said alone; gold links are only looked at in
the end.
"""

import pytest
import torch
from torch import Tensor, nn

from nmt.data.corpus import ParallelText, PhrasesConfig, training_pairs, validation_text
from nmt.data.pharaoh import parse_pharaoh
from nmt.models.attention import (
    AttentionConfig,
    BahdanauConfig,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    Score,
    build_attention,
)

pytestmark = pytest.mark.slow
WORD, PLACE, BATCH, EPOCHS = 64, 16, 50, 8
DATA = PhrasesConfig(train_size=4000, validation_size=200, test_size=1)
# Windows of 21 words: what changes places is seldom farther apart.
CONFIGS: list[AttentionConfig] = [
    BahdanauConfig(hidden_size=64),
    GlobalConfig(),
    GlobalConfig(score=Score.concat),
    HardConfig(),
    LocalMConfig(),
    LocalPConfig(hidden_size=64),
    LocalPConfig(hidden_size=64, renormalize=True),
]


class Words:
    """Ids of the words of one language; 0 is padding, 1 any word that is not in the training text."""

    def __init__(self, texts: list[str]) -> None:
        self.ids = {word: i for i, word in enumerate(sorted({w for text in texts for w in text.split()}), 2)}

    def encode(self, texts: list[str]) -> tuple[Tensor, Tensor]:
        """Padded ids (B, T) and lengths (B,)."""
        rows = [torch.tensor([self.ids.get(word, 1) for word in text.split()]) for text in texts]
        return nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows])


class Speaker(nn.Module):
    """Says target words from contexts."""

    def __init__(self, config: AttentionConfig, source: int, target: int) -> None:
        super().__init__()
        size = WORD + PLACE
        self.source, self.target = nn.Embedding(source, WORD), nn.Embedding(target, size)
        self.where = nn.ModuleList(
            nn.Sequential(nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width)) for width in (PLACE, size)
        )
        attention = build_attention(config, size, size)
        assert attention is not None
        self.attention, self.said = attention, nn.Linear(WORD, target, bias=False)

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """Loss over the words (B, T) of ``target``, of which each row has ``words``; and the weights (B, T, S)."""
        memory = torch.cat([self.source(source), self.where[0](place(lengths, source.size(1)))], 2)
        query = self.target(target) + self.where[1](place(words, target.size(1)))
        prepared = self.attention.prepare(memory, lengths)
        out = self.attention(query, prepared, torch.arange(target.size(1)))
        loss = nn.functional.cross_entropy(self.said(out.context[..., :WORD]).mT, target, ignore_index=0)
        return loss, out.dense_weights(source.size(1))


def place(lengths: Tensor, longest: int) -> Tensor:
    """Where each position lies: in its sentence, and counted (B, longest, 2)."""
    t = torch.arange(longest).expand(len(lengths), longest)
    return torch.stack([(t + 0.5) / lengths[:, None], t / 10], 2)


@pytest.fixture(scope="module")
def corpus() -> tuple[list[tuple[str, str]], ParallelText]:
    return list(training_pairs(DATA, 1)), validation_text(DATA)


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda c: "-".join(str(getattr(v, "name", v)) for v in vars(c).values())
)
def test_the_words_are_found(config: AttentionConfig, corpus: tuple[list[tuple[str, str]], ParallelText]):
    """Of the words of the validation set, at most 5% look at a word that no gold link joins them to."""
    pairs, validation = corpus
    torch.manual_seed(0)
    source, target = (Words([pair[side] for pair in pairs]) for side in (0, 1))
    speaker = Speaker(config, len(source.ids) + 2, len(target.ids) + 2)
    optimizer = torch.optim.Adam(speaker.parameters(), lr=5e-3)
    batches = len(pairs) // BATCH
    for step in range(EPOCHS * batches):
        part = pairs[step % batches :: batches]
        loss, _ = speaker(*source.encode([s for s, _ in part]), *target.encode([t for _, t in part]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    speaker.eval()
    with torch.no_grad():
        _, weights = speaker(*source.encode(validation.source), *target.encode(validation.target))
    found = weights.argmax(2).tolist()
    gold = parse_pharaoh(validation.gold or [], "gold")
    wrong = [
        (found[n][t], t) not in links.possible
        for n, links in enumerate(gold)
        for t in range(len(validation.target[n].split()))
    ]
    assert sum(wrong) / len(wrong) < 0.05
