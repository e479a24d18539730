"""How long to train, how often to look, how to stop (trainer.*)."""

from dataclasses import dataclass, field
from enum import Enum

from nmt.device import Precision
from nmt.errors import ConfigError
from nmt.train.optim import at_least


class Metric(Enum):
    """What chooses the best checkpoint; loss, ppl and aer are better when lower, the others when higher."""

    loss = "loss"
    ppl = "ppl"
    bleu = "bleu"
    chrf = "chrf"
    aer = "aer"  # of the gold word alignments that data.gold names, or of those of the validation set

    @property
    def sign(self) -> int:
        """1 where higher is better, else -1."""
        return -1 if self in (Metric.loss, Metric.ppl, Metric.aer) else 1


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
        default=Metric.bleu,
        metadata={
            "help": "loss, ppl, bleu, chrf or aer (needs gold links: data.gold): chooses the best checkpoint and stops "
            "early"
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
