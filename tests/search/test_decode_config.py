"""Every key of decode.* is checked, and every preset under configs/decode is one."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nmt.errors import ConfigError
from nmt.search import DecodeConfig, Method

PRESETS = sorted((Path(__file__).parents[2] / "configs" / "decode").glob("*.yaml"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"beam_size": 0}, "decode.beam_size must be 1 to 1000, got 0"),
        ({"temperature": 0.0}, "decode.temperature must be above 0"),
        ({"top_p": 1.5}, "decode.top_p must be above 0 and at most 1, got 1.5"),
        ({"top_k": 0}, "decode.top_k must be at least 1"),
        ({"coverage": -0.1}, "decode.coverage must be at least 0"),
        ({"length_alpha": float("nan")}, "decode.length_alpha must be finite"),
        ({"beam_size": 5, "groups": 2}, "decode.beam_size=5 is no multiple of decode.groups=2"),
        ({"beam_size": 2, "n_best": 3}, "decode.n_best=3 is above decode.beam_size=2"),
        ({"method": Method.sample, "n_best": 2}, "decode.n_best=2 is above decode.samples=1"),
        ({"min_length": 9, "max_length": 8}, "decode.min_length=9 is above decode.max_length=8"),
    ],
)
def test_mistakes_name_the_key(keys, message):
    """As the user types it, with the value."""
    with pytest.raises(ConfigError) as error:
        DecodeConfig(**keys)
    assert message in str(error.value)


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: p.stem)
def test_presets_are_typed(preset):
    """Each file under configs/decode merges into the schema and passes its checks."""
    merged = OmegaConf.merge(OmegaConf.structured(DecodeConfig), OmegaConf.load(preset))
    assert isinstance(OmegaConf.to_object(merged), DecodeConfig)


def test_limits():
    """max_ratio * S + max_extra below the cap; the maximum wins over a relative minimum, never over min_length."""
    config = DecodeConfig(max_length=50, max_ratio=1.5, max_extra=3, min_ratio=0.5)
    assert config.lengths(4) == (2, 9)
    assert config.lengths(5) == (3, 10)
    assert config.lengths(100) == (50, 50)
    assert DecodeConfig(min_ratio=9.0, max_ratio=1.0, max_extra=0).lengths(3) == (3, 3)
    assert DecodeConfig(min_length=8, max_ratio=1.0, max_extra=0).lengths(3) == (8, 8)
    assert DecodeConfig(max_ratio=None).lengths(3) == (0, 256)
