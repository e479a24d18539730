"""How long to train, how often to look, how to stop (trainer.*)."""

from dataclasses import dataclass, field
from enum import Enum

from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.train.optim import at_least


class Metric(Enum):
    """What chooses the best checkpoint; loss and ppl are better when lower, the others when higher."""

    loss = "loss"
    ppl = "ppl"
    bleu = "bleu"
    chrf = "chrf"


class Normalization(Enum):
    """What the summed loss of an update is divided by."""

    tokens = "tokens"  # target tokens, end-of-sentence included
    sentences = "sentences"  # Luong et al. 2015


@dataclass
class TrainerConfig:
    """How long, how often, how exactly (trainer.*)."""

    max_steps: int | None = field(default=20_000, metadata={"help": "updates; null: no limit"})
    max_minutes: float | None = field(
        default=None, metadata={"help": "minutes of training, the time of validations not counted; null: no limit"}
    )
    max_epochs: float | None = field(default=None, metadata={"help": "passes over the data; null: no limit"})
    validate_every: int = field(default=500, metadata={"help": "updates from one validation to the next"})
    validation_sentences: int | None = field(
        default=200, metadata={"help": "size of the fixed validation subset used while training; null: all"}
    )
    metric: Metric = field(
        default=Metric.bleu, metadata={"help": "loss, ppl, bleu or chrf: chooses the best checkpoint and stops early"}
    )
    patience: int | None = field(
        default=None, metadata={"help": "stop after so many validations in a row without a better metric; null: never"}
    )
    clip: float | None = field(default=1.0, metadata={"help": "largest global gradient norm; null: no clipping"})
    accumulate: int = field(default=1, metadata={"help": "batches whose gradients are summed for one update"})
    normalization: Normalization = field(
        default=Normalization.tokens,
        metadata={"help": "the update's loss is divided by its target tokens or sentences"},
    )
    label_smoothing: float = field(default=0.0, metadata={"help": "probability spread evenly over the vocabulary"})
    precision: Precision = field(default=Precision.auto, metadata={"help": "auto, fp32 or bf16, of matrix products"})
    max_skipped: int = field(
        default=20, metadata={"help": "give up after so many updates in a row with a gradient that is not finite"}
    )

    def __post_init__(self) -> None:
        at_least("trainer", self, max_steps=1, validate_every=1, validation_sentences=1, patience=1, accumulate=1)
        at_least("trainer", self, max_skipped=1)
        for key in ("max_minutes", "max_epochs", "clip"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise ConfigError(f"trainer.{key} must be above 0 (null: no limit), got {value}")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"trainer.label_smoothing must be at least 0 and below 1, got {self.label_smoothing}")
        if self.max_steps is None and self.max_minutes is None and self.max_epochs is None and self.patience is None:
            raise ConfigError(
                "trainer.max_steps, max_minutes, max_epochs and patience are all null: training has no end"
            )
