"""The tables that a plug-in may add rows to, and what a row of each of them is."""

import re
from collections.abc import MutableMapping
from typing import Any, cast

from nmt.config import to_tree
from nmt.data.corpus import DATASETS, Corpus
from nmt.data.text import DataConfig
from nmt.eval.metrics import METRICS, Metric
from nmt.models import MODELS
from nmt.models.attention import ATTENTIONS, NORMALIZERS, SCORES, Attention, AttentionConfig
from nmt.models.attention.scores import ScoreFunction
from nmt.models.seq2seq import ModelConfig, Seq2Seq
from nmt.train.log import LOGGERS
from nmt.train.logger import Logger
from nmt.train.optim import OPTIMIZERS, SCHEDULES, OptimizerRow

# Every table that a plug-in may add rows to, by the key whose choices are its rows.
TABLES = cast(
    dict[str, MutableMapping[Any, Any]],
    {
        "model": MODELS,
        "model.attention": ATTENTIONS,
        "model.attention.score": SCORES,
        "model.attention.normalizer": NORMALIZERS,
        "data": DATASETS,
        "optim.name": OPTIMIZERS,
        "optim.schedule": SCHEDULES,
        "trainer.metric": METRICS,
        "logger.more": LOGGERS,
    },
)
Tables = dict[str, dict[Any, Any]]  # what TABLES hold at a time
ATTENTION = "model.attention"
NAME = r"[A-Za-z][\w-]*"  # what can be typed for a choice
# Of the tables with a class of the configuration for each choice: what that is derived from, and what its value is.
BY_CONFIG: dict[str, tuple[type, type]] = {
    "model": (ModelConfig, Seq2Seq),
    ATTENTION: (AttentionConfig, Attention),
    "data": (DataConfig, Corpus),
}
# Of those with a name for each choice: what its value is, or is derived from (CLASSES).  The others have functions.
BY_NAME: dict[str, type] = {
    "model.attention.score": ScoreFunction,
    "optim.name": OptimizerRow,
    "trainer.metric": Metric,
    "logger.more": Logger,
}
CLASSES = ("model.attention.score", "logger.more")


def copied() -> Tables:
    """What the tables hold now."""
    return {key: dict(table) for key, table in TABLES.items()}


def restore_tables(tables: Tables) -> None:
    """Put back the rows that ``copied`` gave, and take away what has been added since."""
    for key, rows in tables.items():
        TABLES[key].clear()
        TABLES[key].update(rows)


def why_no_row(key: str, row: Any, value: Any) -> str:
    """Why a table cannot have this row, as a message that names both; "" where it can."""
    if key in BY_CONFIG:
        base, made = BY_CONFIG[key]
        told = getattr(row, "__name__", repr(row))
        if not isinstance(row, type) or not issubclass(row, base):
            return f"the table of {key} has a class derived from {base.__name__} for each choice, not {told}"
        if "__dataclass_fields__" not in vars(row):
            return f"{told} needs the line @dataclass above it"
        if not re.fullmatch(NAME, str(row.name)):
            return f'{told} needs a name to be typed: name: str = "..."'
        if not (isinstance(value, type) and issubclass(value, made)) and not (value is None and key == ATTENTION):
            return f"{key}={row.name} needs a class derived from {made.__name__}, not {value!r}"
        try:
            to_tree(row)
        except Exception as error:  # OmegaConf's, and what a dataclass raises that cannot be made of its defaults
            return f"the settings of {told} are none: {' '.join(str(error).split())}"
        return ""
    if not (isinstance(row, str) and re.fullmatch(NAME, row)):
        return f"the table of {key} has a name for each choice, not {row!r}"
    if key in BY_NAME:
        kind = BY_NAME[key]
        derived = isinstance(value, type) and issubclass(value, kind)
        if not (derived if key in CLASSES else isinstance(value, kind)):
            a = "a class derived from" if key in CLASSES else "an object of"
            return f"{key}={row} needs {a} {kind.__name__}, not {value!r}"
    elif not callable(value):
        return f"{key}={row} needs a function, not {value!r}"
    return ""


def row_name(row: Any) -> str:
    """What is typed for a row: its key or, where that is a dataclass of the configuration, its ``name``."""
    return row if isinstance(row, str) else str(row.name)
