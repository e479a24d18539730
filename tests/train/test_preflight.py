"""What cannot work is said before the first update, with the name of the text."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch

from nmt.config import Config
from nmt.data.corpus import PhrasesConfig
from nmt.data.encode import EncodedCorpus
from nmt.data.prepare import Prepared
from nmt.data.text import ParallelText
from nmt.data.tokenizer import TokenizerConfig, TokenizerKind, train_tokenizers
from nmt.errors import ConfigError, UserError
from nmt.models import LSTMConfig, TransformerConfig, build_model
from nmt.models.attention import ATTENTIONS, GlobalConfig, NoneConfig
from nmt.models.transformer.config import GlobalSelfAttentionConfig, Positions
from nmt.search.config import Method
from nmt.train.preflight import preflight_check

SHORT, LONG = "a b", "a b a b a b a b"  # 2 and 8 ids
TOKENIZERS = train_tokenizers(TokenizerConfig(kind=TokenizerKind.word, vocab_size=40), [LONG], [LONG], seed=1)
LEARNED = TransformerConfig(
    hidden_size=8,
    heads=2,
    ffn_size=8,
    num_layers=1,
    positions=Positions.learned,
    max_positions=8,
    self_attention=GlobalSelfAttentionConfig(),
)


def check(config: Config, train=SHORT, validation=SHORT, test=SHORT) -> None:
    """The longest sentences are ``train`` on both sides, ``validation`` as a source and ``test`` as a target."""
    ids = TOKENIZERS.source.encode([SHORT, SHORT, train]), TOKENIZERS.target.encode([SHORT, train, SHORT])
    pairs = ParallelText("validation", [SHORT, validation], [SHORT] * 2)
    data = Prepared(TOKENIZERS, EncodedCorpus.of(*ids), pairs, cast(Any, None))
    held_out = ParallelText("held out", [SHORT] * 2, [SHORT, test])
    model = build_model(config.model, TOKENIZERS.source.size, TOKENIZERS.target.size, joint=False).train()
    before = torch.get_rng_state()
    preflight_check(model, data, [held_out], decode=config.decode, metric=config.trainer.metric, language="en")
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def configured(model: Any, **decode: Any) -> Config:
    config = Config(model=model, data=PhrasesConfig())
    config.decode = replace(config.decode, **decode)
    return config


@pytest.mark.parametrize("decode", [{"min_length": 5}, {"method": Method.sample, "samples": 3, "mbr": "chrf"}])
@pytest.mark.parametrize("attention", ATTENTIONS, ids=lambda config: config.name)
def test_what_can_work_passes_and_leaves_no_trace(attention, decode):
    """The model's mode and the random numbers of training are what they were: ``check`` looks."""
    check(configured(LSTMConfig(hidden_size=8, attention=attention()), **decode), LONG, LONG, LONG)


@pytest.mark.parametrize(("text", "name"), [("train", "training"), ("validation", "validation"), ("test", "held out")])
def test_sentences_that_learned_positions_have_no_rows_for(text, name):
    """Eight words and end-of-sentence are nine positions, on either side."""
    check(configured(LEARNED))
    with pytest.raises(ConfigError, match=rf"^{name}: a sequence of 9 positions: .*model\.max_positions=8"):
        check(configured(LEARNED), **{text: LONG})
    check(configured(replace(LEARNED, max_positions=9)), **{text: LONG})


def test_sources_that_the_location_score_has_no_rows_for():
    model = LSTMConfig(hidden_size=8, attention=GlobalConfig(score="location", max_source=7))
    check(configured(model), test=LONG)  # a target
    with pytest.raises(UserError, match=r"^validation: model\.attention\.max_source=7"):
        check(configured(model), validation=LONG)


def test_coverage_without_attention():
    model = LSTMConfig(hidden_size=8, attention=NoneConfig())
    with pytest.raises(ConfigError, match=r"decode\.coverage"):
        check(configured(model, coverage=0.2))
