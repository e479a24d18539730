"""Each mechanism finds the alignment of the embedded phrases, from the translations alone.

The words of German phrases are to be said from their English sources.  The memory holds what each source word says by
itself: a row p(y | x) of a dictionary made from the same text (IBM Model 1; Brown et al. 1993).  The query is the word
sought and where it stands.  A context is then sum_s a_s p(y | x_s), greatest where the weight is on the word that says
y.  By the dictionary alone 1.4% of the words would be misplaced.  It is not learnt along with attention, which would
then misplace 20%: a query that knows its word can be at one with any source word that is always there too, as "–" with
"PM".

Gold links are only looked at in the end, for the words whose source they determine (1384 of 1629): where a sentence has
a source word twice, either says the same.  local_m answers for those that a window around their own place can reach
(1298).
"""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from nmt.data.corpus import PhrasesConfig, training_pairs, validation_text
from nmt.data.pharaoh import parse_pharaoh
from nmt.models.attention import (
    AttentionConfig,
    BahdanauConfig,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    Sigma,
    build_attention,
)

pytestmark = pytest.mark.slow
SIZE, BATCH, EPOCHS, D = 64, 50, 3, 5
DATA = PhrasesConfig(train_size=8000, validation_size=200, test_size=1)
CONFIGS: list[AttentionConfig] = [
    BahdanauConfig(hidden_size=SIZE),
    GlobalConfig(),
    HardConfig(),
    LocalMConfig(half_width=D),
    LocalPConfig(half_width=D, hidden_size=SIZE),
    LocalPConfig(half_width=D, hidden_size=SIZE, renormalize=True),
    LocalPConfig(half_width=D, hidden_size=SIZE, sigma=Sigma.learned),
]


class Text(NamedTuple):
    """Sentences as padded ids, 0 for padding, and how many words each has."""

    words: Tensor  # (B, T)
    lengths: Tensor  # (B,)


class Language:
    """The words of one language; id 1 is any that is not in the training text."""

    def __init__(self, sentences: list[str]) -> None:
        self.ids = {word: i for i, word in enumerate(sorted({w for s in sentences for w in s.split()}), 2)}

    def __len__(self) -> int:
        return len(self.ids) + 2

    def encode(self, sentences: list[str]) -> Text:
        rows = [torch.tensor([self.ids.get(word, 1) for word in s.split()]) for s in sentences]
        return Text(nn.utils.rnn.pad_sequence(rows, batch_first=True), torch.tensor([len(row) for row in rows]))


class Corpus:
    """Batches to train on, their dictionary, and a validation set with gold links."""

    def __init__(self) -> None:
        sides = [list(side) for side in zip(*training_pairs(DATA, 1), strict=True)]
        source, target = (Language(side) for side in sides)
        self.dictionary = dictionary(
            source.encode(sides[0]).words, target.encode(sides[1]).words, len(source), len(target)
        )
        count = len(sides[0]) // BATCH
        self.batches = [(source.encode(sides[0][k::count]), target.encode(sides[1][k::count])) for k in range(count)]
        validation = validation_text(DATA)
        self.validation = source.encode(validation.source), target.encode(validation.target)
        self.gold: dict[tuple[int, int], list[int]] = {}  # sentence and target place: source places, where determined
        for n, links in enumerate(parse_pharaoh(validation.gold or [], "gold")):
            words = validation.source[n].split()
            for t in range(len(validation.target[n].split())):
                joined = [s for s, other in links.possible if other == t]
                if all(words.count(words[s]) == 1 for s in joined):
                    self.gold[n, t] = joined


def dictionary(source: Tensor, target: Tensor, sources: int, targets: int) -> Tensor:
    """p(y | x) of IBM Model 1 (``sources``, ``targets``), from sentences (B, S) and (B, T)."""
    n, s, t = torch.nonzero((source > 0)[:, :, None] & (target > 0)[:, None], as_tuple=True)
    pair, said = source[n, s] * targets + target[n, t], n * target.size(1) + t
    p = torch.ones(sources * targets)
    for _ in range(10):
        share = p[pair] / torch.zeros(target.numel()).index_add_(0, said, p[pair])[said]
        counts = torch.zeros(sources, targets).view(-1).index_add_(0, pair, share).view(sources, targets)
        p = (counts / counts.sum(1, keepdim=True).clamp(min=1e-9)).view(-1)
    return p.view(sources, targets)


class Speaker(nn.Module):
    """Says target words from contexts of what the source words say."""

    def __init__(self, config: AttentionConfig, dictionary: Tensor) -> None:
        super().__init__()
        targets = dictionary.size(1)
        self.source = nn.Embedding.from_pretrained(dictionary)
        self.target = nn.Embedding(targets, SIZE)
        self.place = nn.Sequential(nn.Linear(2, SIZE), nn.Tanh(), nn.Linear(SIZE, SIZE))
        attention = build_attention(config, SIZE, targets)
        assert attention is not None
        self.attention = attention

    def forward(self, source: Text, target: Text) -> tuple[Tensor, Tensor]:
        """The loss over the target words, and the weights (B, T, S)."""
        S, T = source.words.size(1), target.words.size(1)
        t = torch.arange(T)
        place = torch.stack([(t + 0.5) / target.lengths[:, None], (t / 10).expand(len(target.lengths), T)], 2)
        query = self.target(target.words) + self.place(place)
        out = self.attention(query, self.attention.prepare(self.source(source.words), source.lengths), t)
        said = out.context.gather(2, target.words[..., None]).squeeze(2)
        return -(said + 1e-6).log()[target.words > 0].mean(), out.dense_weights(S)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return Corpus()


def alignment_error(config: AttentionConfig, corpus: Corpus) -> float:
    """The share of the determined words whose heaviest source place is not one that gold joins to them."""
    speaker = Speaker(config, corpus.dictionary)
    optimizer = torch.optim.Adam([p for p in speaker.parameters() if p.requires_grad], lr=5e-3)
    for step in range(EPOCHS * len(corpus.batches)):
        optimizer.zero_grad()
        speaker(*corpus.batches[step % len(corpus.batches)])[0].backward()
        optimizer.step()
    speaker.eval()
    with torch.no_grad():
        found = speaker(*corpus.validation)[1].argmax(2)
    last = (corpus.validation[0].lengths - 1).tolist()
    monotone = type(config) is LocalMConfig
    wrong = [
        int(found[n, t]) not in joined
        for (n, t), joined in corpus.gold.items()
        if not monotone or any(abs(s - min(t, last[n])) <= D for s in joined)
    ]
    return sum(wrong) / len(wrong)


@pytest.mark.parametrize(
    "config", CONFIGS, ids=lambda c: "-".join(str(getattr(v, "name", v)) for v in vars(c).values())
)
def test_the_words_are_found(config: AttentionConfig, corpus: Corpus):
    torch.manual_seed(0)
    assert alignment_error(config, corpus) < 0.05
