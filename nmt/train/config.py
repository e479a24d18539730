"""The configuration of the training loop (trainer.*)."""

from dataclasses import dataclass, field
from enum import Enum

from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.eval.metrics import METRICS
from nmt.train.optim import at_least

# What validation measures besides the metrics of text: the loss of the references, its exponential (perplexity), and
# the alignment error rate against the gold word alignments that data.gold names, or against those of the validation
# set.  All three are better when they are lower.
LOSS, PERPLEXITY, ALIGNMENT_ERROR = "loss", "ppl", "aer"


def training_metrics() -> tuple[str, ...]:
    """What can choose the best checkpoint, by the names that validation logs them by."""
    return (LOSS, PERPLEXITY, ALIGNMENT_ERROR, *METRICS)


def validation_metrics(chosen: str) -> list[str]:
    """Which metrics of text validations compute: BLEU, chrF, and what else trainer.metric may name."""
    return [name for name in METRICS if name in ("bleu", "chrf", chosen)]


def sign_of(metric: str) -> int:
    """1 for a metric of ``training_metrics`` that is better when it is higher, else -1."""
    return 1 if metric in METRICS and METRICS[metric].higher_is_better else -1


class Normalization(Enum):
    """What the loss of an update, summed over its batches, is divided by."""

    tokens = "tokens"  # target tokens, end-of-sentence included
    sentences = "sentences"  # Luong et al. 2015


@dataclass
class TrainerConfig:
    """How long to train, how often to validate, what to save, and what is minimized (trainer.*)."""

    max_steps: int | None = field(default=20_000, metadata={"help": "updates; null: no limit"})
    max_minutes: float | None = field(
        default=None, metadata={"help": "minutes of training, the time of validations not counted; null: no limit"}
    )
    max_epochs: float | None = field(default=None, metadata={"help": "passes over the data; null: no limit"})
    validate_every: int = field(default=500, metadata={"help": "updates from one validation to the next"})
    validation_sentences: int | None = field(
        default=200, metadata={"help": "size of the fixed validation subset used while training; null: all"}
    )
    metric: str = field(
        default="bleu",
        metadata={
            "help": "chooses the best checkpoint and stops early (aer needs gold links: data.gold):",
            "choices": training_metrics,
        },
    )
    patience: int | None = field(
        default=None, metadata={"help": "stop after so many validations in a row without a better metric; null: never"}
    )
    keep_last: int = field(
        default=0, metadata={"help": "keep the weights of so many latest validations, for checkpoint=avg:K"}
    )
    keep_best: int = field(
        default=0, metadata={"help": "keep the weights of the so many best validations, for checkpoint=best:K"}
    )
    clip: float | None = field(default=1.0, metadata={"help": "largest global gradient norm; null: no clipping"})
    accumulate: int = field(default=1, metadata={"help": "batches whose gradients are summed for one update"})
    normalization: Normalization = field(
        default=Normalization.tokens,
        metadata={"help": "the update's loss is divided by its target tokens or sentences"},
    )
    label_smoothing: float = field(default=0.0, metadata={"help": "probability spread evenly over the vocabulary"})
    r_drop: float = field(
        default=0.0,
        metadata={"help": "alpha of R-Drop: every batch is passed twice (halve data.batching.tokens); 5 in the paper"},
    )
    ema: float = field(
        default=0.0, metadata={"help": "validate and keep an exponential average of the weights: its decay, as 0.999"}
    )
    guided_alignment: float = field(
        default=0.0,
        metadata={"help": "weight of the loss that makes one head of attention follow data.alignments; as 0.05"},
    )
    guided_layer: int = field(
        default=-2, metadata={"help": "the layer of that head: 1 is the first, -1 the last, -2 the one before it"}
    )
    guided_head: int = field(default=1, metadata={"help": "the head in that layer, likewise"})
    precision: Precision = field(default=Precision.auto, metadata={"help": "auto, fp32 or bf16, of matrix products"})
    max_skipped: int = field(
        default=20, metadata={"help": "give up after so many updates in a row with a gradient that is not finite"}
    )

    def __post_init__(self) -> None:
        if self.metric not in training_metrics():
            raise ConfigError(f"trainer.metric: {self.metric!r} is not one of {', '.join(training_metrics())}")
        at_least("trainer", self, max_steps=1, validate_every=1, validation_sentences=1, patience=1, accumulate=1)
        at_least("trainer", self, keep_last=0, keep_best=0)
        at_least("trainer", self, max_skipped=1, r_drop=0, guided_alignment=0)
        for key in ("max_minutes", "max_epochs", "clip"):
            value = getattr(self, key)
            if value is not None and value <= 0:
                raise ConfigError(f"trainer.{key} must be above 0 (null: no limit), got {value}")
        for key in ("label_smoothing", "ema"):
            if not 0 <= getattr(self, key) < 1:
                raise ConfigError(f"trainer.{key} must be at least 0 and below 1, got {getattr(self, key)}")
        for key in ("guided_layer", "guided_head"):
            if getattr(self, key) == 0:
                raise ConfigError(f"trainer.{key} counts from 1, or back from -1; it cannot be 0")
        if self.max_steps is None and self.max_minutes is None and self.max_epochs is None and self.patience is None:
            raise ConfigError(
                "trainer.max_steps, max_minutes, max_epochs and patience are all null: training has no end"
            )
