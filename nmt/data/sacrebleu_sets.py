"""The test sets that sacreBLEU knows by name (wmt14, wmt20/tworefs, ...): from its cache, or fetched into it."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from sacrebleu import DATASETS
from sacrebleu.utils import SACREBLEU_DIR

from nmt.data.files import read_text
from nmt.data.text import DataConfig, ParallelText, TextFiles
from nmt.errors import ConfigError, DataError
from nmt.languages import spellings

TIMEOUT = 20.0  # seconds for the server of a set to answer; sacreBLEU itself would wait for ever


def sacrebleu_text(name: str, config: DataConfig) -> ParallelText:
    """The set ``name`` of ``sacrebleu.DATASETS`` in the languages of ``config``.

    sacreBLEU keeps its sets in the folder that the environment variable SACREBLEU names (~/.sacrebleu by default).
    Raises ConfigError for languages that the set does not have and for a set of several references, DataError where
    it is not in the folder and cannot be fetched.
    """
    found = DATASETS[name]
    pairs = [f"{s}-{t}" for s in spellings(config.source) for t in spellings(config.target)]
    pair = next((pair for pair in pairs if pair in found.langpairs), None)
    if pair is None:
        raise ConfigError(
            f"data.test={name}: sacreBLEU has no {config.source}-{config.target} of this set, only "
            f"{', '.join(sorted(found.langpairs))}"
        )
    advice = f"sacrebleu -t {name} -l {pair} --echo src ref > FILE"
    with fetching(name, advice):
        source, references = found.get_source_file(pair), found.get_reference_files(pair)
    if len(references) != 1:
        raise ConfigError(
            f"data.test={name}: this set has {len(references)} references a sentence, and one is scored against; take "
            "one of these files: " + " ".join(f"data.tests.NAME.target={path}" for path in references) + " with "
            f"data.tests.NAME.source={source}"
        )
    return read_text(name, TextFiles(str(source), str(references[0])), f"data.test={name}")


@contextmanager
def fetching(name: str, advice: str) -> Iterator[None]:
    """Turn whatever keeps sacreBLEU from giving a set into a DataError."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        yield
    except (Exception, SystemExit) as error:  # its modules for each kind of set raise many kinds
        reason = str(getattr(error, "reason", "") or error).strip().splitlines() or [type(error).__name__]
        raise DataError(
            f"data.test={name}: not in the cache of sacreBLEU ({SACREBLEU_DIR}; the environment variable SACREBLEU "
            f"names another), and it could not be fetched: {reason[0]}. Where there is a network, `{advice}` puts it "
            "there"
        ) from None
    finally:
        socket.setdefaulttimeout(before)
