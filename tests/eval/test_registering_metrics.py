"""A metric that is one more row of METRICS is known everywhere, with nothing else changed."""

import re

import pytest
import torch
from eval_fakes import FakeModel, thirds
from sacrebleu.metrics.ter import TER

from nmt.cli.eval import COMMAND as EVAL
from nmt.cli.help import key_line
from nmt.cli.on_run import SearchOnRun
from nmt.cli.options import key_options
from nmt.config import Config, from_yaml, to_yaml
from nmt.data.corpus import PhrasesConfig
from nmt.data.text import ParallelText
from nmt.errors import ConfigError
from nmt.eval.evaluate import EvaluationOptions, evaluate
from nmt.eval.metrics import METRICS, EvalConfig, Metric, sentence_utility
from nmt.models import LSTMConfig
from nmt.models.attention import GlobalConfig
from nmt.search import DecodeConfig
from nmt.train.config import TrainerConfig, validation_metrics
from nmt.train.training_state import TrainingState

KEYS = {"trainer.metric": Config, "decode.mbr": Config, "eval.metrics": EVAL.schema}


@pytest.fixture
def mine(monkeypatch):
    """TER without regard to case, under a name of its own: better when it is lower."""
    row = Metric(lambda _: TER(case_sensitive=False), lambda _: TER(case_sensitive=False), higher_is_better=False)
    monkeypatch.setitem(METRICS, "mine", row)
    return "mine"


def configured(**values):
    return Config(model=LSTMConfig(attention=GlobalConfig()), data=PhrasesConfig(), **values)


def help_line(key):
    return next(key_line(option) for option in key_options(KEYS[key]) if option.key == key)


@pytest.mark.parametrize("key", KEYS)
def test_help_lists_every_row(key, monkeypatch):
    """Each name once."""
    before = help_line(key)
    assert "mine" not in before
    for name in METRICS:
        words = re.findall(r"\w+", before)
        assert name in words
    monkeypatch.setitem(METRICS, "mine", Metric(lambda _: TER(), lambda _: TER()))
    assert help_line(key) == f"{before.removesuffix(')')}, mine)"


def test_training_knows_it(mine):
    """It is measured, and the lower of two values is the better."""
    config = TrainerConfig(metric=mine)
    assert validation_metrics(config.metric) == ["bleu", "chrf", mine]
    state = TrainingState(step=1)
    assert [state.record_validation({mine: value}, mine) for value in (50.0, 60.0, 40.0)] == [True, False, True]


def test_evaluation_knows_it(mine):
    EvalConfig(metrics=[mine])
    text = ParallelText("set", ["a b c", "d e"], ["A b d", "E"])
    tokenizers = thirds(text.source, text.target)
    model = FakeModel(tokenizers.source.size).eval()
    options = EvaluationOptions(torch.device("cpu"), DecodeConfig(max_length=5), metrics=[mine])
    found = evaluate(model, tokenizers, text, options)
    expected = TER(case_sensitive=False).corpus_score(found.hypotheses, [text.target]).score
    assert found.numbers()[mine] == pytest.approx(expected)


def test_minimum_bayes_risk_knows_it(mine):
    configured(decode=DecodeConfig(mbr=mine))
    SearchOnRun(run="runs/x", decode=DecodeConfig(mbr=mine))
    assert sentence_utility(mine)("A b", "a b") == 0
    assert sentence_utility(mine)("A c", "a b") == -50


def test_a_configuration_that_names_it_is_read_back(mine):
    config = configured(decode=DecodeConfig(mbr=mine), trainer=TrainerConfig(metric=mine))
    assert from_yaml(to_yaml(config)) == config


def test_names_of_no_row_are_refused_by_the_key():
    with pytest.raises(
        ConfigError, match=r"trainer\.metric: 'blue' is not one of loss, ppl, aer, command, command_lower, bleu, .*ter"
    ):
        TrainerConfig(metric="blue")
    for make in (configured, lambda **values: SearchOnRun(run="runs/x", **values)):
        with pytest.raises(ConfigError, match=r"decode\.mbr: 'blue' is not one of none, bleu, .*ter"):
            make(decode=DecodeConfig(mbr="blue"))


@pytest.mark.parametrize("metric", ["loss", "ppl", "bleu", "chrf", "aer"])
@pytest.mark.parametrize("mbr", ["none", "bleu", "chrf", "chrfpp", "ter"])
def test_configurations_of_earlier_versions_are_read(metric, mbr):
    """The names that were members of an Enum."""
    text = to_yaml(configured()).replace("metric: loss", f"metric: {metric}").replace("mbr: none", f"mbr: {mbr}")
    config = from_yaml(text)
    assert (config.trainer.metric, config.decode.mbr) == (metric, mbr)
