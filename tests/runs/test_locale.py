"""Paths that the locale cannot encode are refused before there is a run directory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nmt.config import Config
from nmt.config_checks import check_sections
from nmt.data.corpus import PhrasesConfig
from nmt.errors import ConfigError
from nmt.models import LSTMConfig
from nmt.models.attention import GlobalConfig
from nmt.runs.origin import readable

ROOT = Path(__file__).parents[2]


def test_what_the_locale_did_not_understand_is_refused_by_key():
    """Bytes of the command line that are no text in the locale reach Python as lone surrogates."""
    config = Config(
        model=LSTMConfig(attention=GlobalConfig()),
        data=PhrasesConfig(),
        runs=b"r\xfcns".decode("utf-8", "surrogateescape"),
    )
    with pytest.raises(ConfigError, match=r"^runs=r.*ns has characters that this locale .* LC_ALL=C\.UTF-8"):
        check_sections(config)
    config.runs = "rüns"
    check_sections(config)


def test_a_word_in_another_encoding_is_still_recorded():
    assert readable("rüns") == "rüns"
    assert readable(b"r\xfcns".decode("utf-8", "surrogateescape")) == "r\ufffdns"


def test_training_in_an_ascii_locale_leaves_no_run_directory(tmp_path):
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    words = ["runs='rüns'", "name=x", "trainer.max_steps=1"]
    done = subprocess.run(
        [sys.executable, "-m", "nmt.train", *words], cwd=tmp_path, env=env, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.startswith(b"error: runs=")
    assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []
