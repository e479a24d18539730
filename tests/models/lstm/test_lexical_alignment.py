"""What lexical alignment learns: which source word each target word comes from."""

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
