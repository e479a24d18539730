"""What lexical alignment learns: which source word each target word comes from."""

import math
from typing import Any

import pytest
import torch

from nmt.batch import Batch, collate
from nmt.models import build_model
from nmt.models.attention import GlobalConfig
from nmt.models.lstm.config import LSTMConfig, Mixture

WORDS = 20
FIRST = 4  # ids below are BOS and the like


def sentences(count: int, generator: torch.Generator) -> Batch:
    """Six different words, and their translations the other way round."""
    words = [torch.randperm(WORDS, generator=generator)[:6] for _ in range(count)]
    targets = [((each * 7 + 3) % WORDS).flip(0) for each in words]
    return collate([(x + FIRST).tolist() for x in words], [(y + FIRST).tolist() for y in targets], list(range(count)))


@pytest.mark.parametrize("feeding", [False, True])
def test_it_finds_the_words_that_were_translated(feeding):
    torch.manual_seed(1)
    generator = torch.Generator().manual_seed(1)
    config = LSTMConfig(
        attention=GlobalConfig(), mixture=Mixture.lexical, hidden_size=32, dropout=0.0, input_feeding=feeding
    )
    model = build_model(config, WORDS + FIRST, WORDS + FIRST, joint=False)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(120):
        output = model(sentences(32, generator))
        optimizer.zero_grad()
        (output.loss_sum / output.tokens).backward()
        optimizer.step()
    output = model(sentences(100, generator), want_maps=True)
    found = output.posterior.weights[:, 0, 0, :6].argmax(2)
    assert (found == torch.arange(5, -1, -1)).float().mean() > 0.95


def small(dropout: float = 0.0) -> Any:
    """What a model without training predicts of single words with."""
    config = LSTMConfig(attention=GlobalConfig(), mixture=Mixture.lexical, hidden_size=200, dropout=dropout)
    model: Any = build_model(config, 9, 9, joint=False)
    return model.lexical


def test_weights_near_the_diagonal():
    """exp(-4 |t/T - s/S|) with words in the middle of their shares, of each sentence, by scalars."""
    found = small().diagonal(torch.tensor([4, 2]), torch.tensor([2, 3]), torch.zeros(2, 4, 4, dtype=torch.float64))
    for b, (S, T) in enumerate(((4, 2), (2, 3))):
        for t in range(4):
            at = min(1.0, (t + 0.5) / T)  # end-of-sentence as the end
            near = [math.exp(-4 * abs((s + 0.5) / S - at)) for s in range(S)]
            assert found[b, t].tolist() == pytest.approx([w / sum(near) for w in near] + [0.0] * (4 - S), rel=1e-12)


def test_what_a_word_predicts_from_is_dropped_in_training_alone():
    lexical, words = small(dropout=0.5), torch.ones(2, 3, 200)
    whole = lexical.vectors(words, training=False)
    dropped = lexical.vectors(words, training=True)
    lost = dropped == 0
    assert 0.4 < lost.float().mean() < 0.6
    torch.testing.assert_close(dropped[~lost], 2 * whole[~lost])
    assert torch.equal(small().vectors(words, training=True) != 0, torch.ones_like(lost))
