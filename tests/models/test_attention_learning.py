"""Each mechanism finds an alignment that it can represent, from the translations alone.

The task: source words are random, target word t says the word at s(t), with s(t) = t (copy) or S-1-t
(reverse).  The query tells the word sought (its embedding, another one than the memory's) and where the
decoder is (t/S); the memory tells each source word.  The gradient comes from the words said alone.
"""

import pytest
import torch
from torch import Tensor, nn

from nmt.models.attention import (
    AttentionConfig,
    BahdanauConfig,
    GlobalConfig,
    HardConfig,
    LocalMConfig,
    LocalPConfig,
    Score,
    Sigma,
    build_attention,
)

WORDS = SIZE = 24
LONGEST = 14
CONTENT: list[AttentionConfig] = [
    BahdanauConfig(hidden_size=32),
    GlobalConfig(),
    GlobalConfig(score=Score.concat),
    HardConfig(),
    LocalPConfig(half_width=4, hidden_size=16),
    LocalPConfig(half_width=4, hidden_size=16, renormalize=True),
    LocalPConfig(half_width=4, hidden_size=16, sigma=Sigma.learned),
]
CASES = [
    *((config, order) for config in CONTENT for order in ("copy", "reverse")),
    (LocalMConfig(half_width=2), "copy"),
    (LocalMConfig(half_width=2, score=Score.location), "copy"),
    (GlobalConfig(score=Score.location, max_source=LONGEST), "copy"),
]


class Task(nn.Module):
    """Attention between an embedding and one-hot words; what it says are the words of the context."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        self.query = nn.Embedding(WORDS, SIZE)
        self.place = nn.Sequential(nn.Linear(2, SIZE), nn.Tanh(), nn.Linear(SIZE, SIZE))
        attention = build_attention(config, SIZE, SIZE)
        assert attention is not None
        self.attention = attention

    def forward(self, reverse: bool) -> tuple[Tensor, Tensor]:
        """Loss of a random batch, and the share of words whose heaviest source position is wrong."""
        B, T = 32, LONGEST
        lengths = torch.randint(3, LONGEST + 1, (B,))
        words = torch.stack([torch.randperm(WORDS)[:T] for _ in range(B)])  # no word twice in a source
        t = torch.arange(T).expand(B, T)
        real = t < lengths[:, None]
        aligned = (lengths[:, None] - 1 - t if reverse else t).clamp(min=0)
        said = words.gather(1, aligned)
        query = self.query(said) + self.place(torch.stack([(t + 0.5) / lengths[:, None], t / T], 2))
        out = self.attention(query, self.attention.prepare(torch.eye(SIZE)[words], lengths), torch.arange(T))
        loss = nn.functional.cross_entropy(10 * out.context[real], said[real])
        wrong = out.dense_weights(T).argmax(2) != aligned
        return loss, wrong[real].float().mean()


@pytest.mark.parametrize(("config", "order"), CASES, ids=lambda x: getattr(x, "name", x))
def test_the_alignment_is_found(config: AttentionConfig, order: str):
    torch.manual_seed(0)
    task = Task(config)
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    for _ in range(150):
        optimizer.zero_grad()
        task(order == "reverse")[0].backward()
        optimizer.step()
    task.eval()
    with torch.no_grad():
        assert task(order == "reverse")[1] < 0.05
