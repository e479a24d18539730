"""A mechanism that is one more row of ATTENTIONS, added after the package was imported, is a choice like the others."""

import sys
from dataclasses import dataclass

import pytest
import torch
from hydra.core.config_store import ConfigStore

from nmt.batch import collate
from nmt.cli import app
from nmt.cli.help import help_text
from nmt.cli.train import COMMAND
from nmt.config import Config, from_yaml, to_yaml
from nmt.models import build_model
from nmt.models.attention import ATTENTIONS, Attended, Attention, AttentionConfig
from nmt.models.attention.base import masked_softmax
from nmt.settings import setting


@dataclass
class EvenConfig(AttentionConfig):
    """every source position alike"""

    name: str = "even"
    factor: float = setting(1.0, "what each context is multiplied by")


class EvenAttention(Attention):
    """a_s = 1 / S"""

    def __init__(self, config: EvenConfig, query_size: int, memory_size: int) -> None:
        super().__init__()
        self.factor = config.factor

    def forward(self, query, memory, position):
        weights = masked_softmax(query.new_zeros(*query.shape[:2], memory.values.size(1)), memory.padding)
        return Attended(self.factor * memory.value_rows.weighted_sum(weights).to(query.dtype), weights)


@pytest.fixture
def even(monkeypatch):
    """The row, for the time of a test."""
    monkeypatch.setitem(ATTENTIONS, EvenConfig, EvenAttention)
    yield
    ConfigStore.instance().repo["model.attention"].pop("even.yaml", None)


@pytest.fixture
def config(even, monkeypatch, tmp_path) -> Config:
    """What nmt.train makes of a command line that asks for it."""
    got = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    words = ["model.attention=even", "model.attention.factor=2", "model.hidden_size=8"]
    monkeypatch.setattr(sys, "argv", ["nmt", *words])
    app.run(COMMAND, got.append)
    return got[0]


def test_the_command_line_takes_it(config):
    assert config.model.attention == EvenConfig(factor=2.0)
    assert "even" in config.name
    assert from_yaml(to_yaml(config)) == config


def test_help_lists_it(even):
    page = help_text(COMMAND)
    assert "every source position alike" in page
    assert "model.attention.factor" in page


def test_a_model_is_built_with_it(config):
    model = build_model(config.model, 12, 12, joint=False).double().eval()
    batch = collate([[4, 5, 6], [7]], [[5, 6], [8]], [0, 1])
    maps = model(batch, want_maps=True).maps
    assert maps is not None
    expected = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(maps.weights[:, 0, 0, 0], expected)
