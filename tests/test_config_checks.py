"""What a training is refused for that a run of an earlier version may have: nothing of it, or NaN, would come out."""

import pytest

from nmt.config import Config
from nmt.config_checks import check_sections
from nmt.data.corpus import PhrasesConfig
from nmt.errors import ConfigError
from nmt.models import LSTMConfig, TransformerConfig
from nmt.models.attention import GlobalConfig, LocalPConfig, MixtureWindowConfig, MonotonicConfig
from nmt.models.lstm.config import Mixture
from nmt.models.transformer.config import HardCodedSelfAttentionConfig, Sinks


def check(model):
    check_sections(Config(model=model, data=PhrasesConfig()))


@pytest.mark.parametrize("mixture", [Mixture.predictions, Mixture.lexical])
@pytest.mark.parametrize("kind", [MonotonicConfig(), MonotonicConfig(chunk=3), MixtureWindowConfig()])
def test_weights_that_may_all_be_0_have_no_predictions_to_mix(mixture, kind):
    with pytest.raises(ConfigError, match=rf"mixture={mixture.name} .* model\.attention={kind.name} may all be 0"):
        check(LSTMConfig(attention=kind, mixture=mixture))


@pytest.mark.parametrize("kind", [GlobalConfig(), LocalPConfig()])
def test_weights_that_sum_to_something_have(kind):
    check(LSTMConfig(attention=kind, mixture=Mixture.predictions))


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"sinks": Sinks.all}, r"model\.sinks=all would do nothing there; model\.sinks=cross_attention can"),
        ({"sinks": Sinks.self_attention}, r"model\.sinks=self_attention would do nothing there"),
        ({"encoder_normalizer": "sparsemax"}, r"model\.encoder_normalizer=sparsemax would do nothing"),
        ({"decoder_normalizer": "entmax15"}, r"model\.decoder_normalizer=entmax15 would do nothing"),
    ],
)
def test_fixed_gaussians_have_no_scores(keys, named):
    with pytest.raises(ConfigError, match=named):
        check(TransformerConfig(self_attention=HardCodedSelfAttentionConfig(), **keys))
    check(TransformerConfig(self_attention=HardCodedSelfAttentionConfig(layers=[1]), **keys))  # others have


def test_fixed_gaussians_combine_with_sinks_of_the_other_attention():
    check(TransformerConfig(self_attention=HardCodedSelfAttentionConfig(), sinks=Sinks.cross_attention))
