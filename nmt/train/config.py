"""The configuration of the training loop (trainer.*)."""

from dataclasses import dataclass
from enum import Enum

from nmt.device import Precision, refuse_int8
from nmt.errors import ConfigError
from nmt.eval.alignment import SHIFTS
from nmt.eval.metrics import METRICS
from nmt.settings import check_ranges, setting
from nmt.train.validate_command import command_words

# What validation measures besides the metrics of text: the loss of the references, its exponential (perplexity), and
# the alignment error rate against the gold word alignments that data.gold names, or against those of the validation
# set.  All three are better when they are lower.
LOSS, PERPLEXITY, ALIGNMENT_ERROR = "loss", "ppl", "aer"
# The number of trainer.validate_command, where a higher one is better, and where a lower one is.
COMMAND, COMMAND_LOWER = "command", "command_lower"
NO_GOLD_LINKS = (
    "trainer.metric=aer needs gold word alignments: data.gold=NAME (a test set that has them) or "
    "data.gold=FILE (links for the validation set)"
)


def training_metrics() -> tuple[str, ...]:
    """What can choose the best checkpoint, by the names that validation logs them by."""
    return (LOSS, PERPLEXITY, ALIGNMENT_ERROR, COMMAND, COMMAND_LOWER, *METRICS)


def validation_metrics(chosen: str) -> list[str]:
    """Which metrics of text validations compute: BLEU, chrF, and what else trainer.metric may name."""
    return [name for name in METRICS if name in ("bleu", "chrf", chosen)]


def sign_of(metric: str) -> int:
    """1 for a metric of ``training_metrics`` that is better when it is higher, else -1."""
    if metric in METRICS:
        return 1 if METRICS[metric].higher_is_better else -1
    return 1 if metric == COMMAND else -1


class Normalization(Enum):
    """What the loss of an update, summed over its batches, is divided by."""

    tokens = "tokens"  # target tokens, end-of-sentence included
    sentences = "sentences"  # Luong et al. 2015


class Strategy(Enum):
    """How several processes share the work of training one model."""

    ddp = "ddp"  # each has the whole model, and its own part of every batch
    fsdp = "fsdp"  # and a share of weights, gradients and averages (nmt/train/sharding.py)


@dataclass
class TrainerConfig:
    """How long to train, how often to validate, what to save, and what is minimized (trainer.*)."""

    max_steps: int | None = setting(20_000, "updates; null: no limit", least=1)
    max_minutes: float | None = setting(
        None, "minutes of training, the time of validations not counted; null: no limit", above=0
    )
    max_epochs: float | None = setting(None, "passes over the data; null: no limit", above=0)
    validate_every: int = setting(500, "updates from one validation to the next", least=1)
    validation_sentences: int | None = setting(
        200, "size of the fixed validation subset used while training; null: all", least=1
    )
    metric: str = setting(
        LOSS,
        "chooses the best checkpoint and stops early; aer needs gold links: data.gold; the number that "
        "trainer.validate_command prints is better when it is higher, or with _lower when it is lower",
        choices=training_metrics,
    )
    validate_command: str | None = setting(
        None,
        "a program that judges the translations of each validation: with {source}, {hypotheses} and {reference} or "
        "these three files appended; its last word is the number (docs/evaluating.md)",
    )
    validate_command_minutes: float | None = setting(30.0, "stop it after so long; null: never", above=0)
    patience: int | None = setting(
        None, "stop after so many validations in a row without a better metric; null: never", least=1
    )
    keep_last: int = setting(0, "keep the weights of so many latest validations, for checkpoint=avg:K", least=0)
    keep_best: int = setting(0, "keep the weights of the so many best validations, for checkpoint=best:K", least=0)
    clip: float | None = setting(1.0, "largest global gradient norm; null: no clipping", above=0)
    accumulate: int = setting(1, "batches whose gradients are summed for one update", least=1, most=100_000)
    normalization: Normalization = setting(
        Normalization.tokens, "the update's loss is divided by its target tokens or sentences"
    )
    label_smoothing: float = setting(0.0, "probability spread evenly over the vocabulary", least=0, below=1)
    r_drop: float = setting(
        0.0, "alpha of R-Drop: every batch is passed twice (halve data.batching.tokens); 5 in the paper", least=0
    )
    cutoff: float = setting(
        0.0,
        "share of the words whose vectors are 0 in a second pass of every batch, which is to predict the same "
        "(halve data.batching.tokens); as 0.05",
        least=0,
        below=1,
    )
    cutoff_weight: float = setting(1.0, "weight of the divergence of the two passes of trainer.cutoff", least=0)
    ema: float = setting(
        0.0, "validate and keep an exponential average of the weights: its decay, as 0.999", least=0, below=1
    )
    guided_alignment: float = setting(
        0.0, "weight of the loss that makes one head of attention follow data.alignments; as 0.05", least=0
    )
    guided_layer: int = setting(
        -2, "the layer of that head: 1 is the first, -1 the last, -2 the one before it", nonzero=True
    )
    guided_head: int = setting(1, "the head in that layer, likewise", nonzero=True)
    guided_shift: int = setting(
        0,
        "links of target word i are taught at decoder step i (0), or at i + 1, which has read the word (1): better for "
        "finding alignments (Chen et al. 2020)",
        choices=SHIFTS,
    )
    agreement: float = setting(
        0.0,
        "weight of the bonus where the head of guided_layer and guided_head joins the same words in both directions of "
        "data.pairs=[A-B,B-A] data.tags=true; every batch is passed in both (halve data.batching.tokens)",
        least=0,
    )
    coverage_loss: float = setting(
        0.0, "weight of the loss for reading source words again, for any attention; 1 in the paper", least=0
    )
    strategy: Strategy = setting(
        Strategy.ddp, "of several processes: ddp, the whole model in each; fsdp, a share, where it does not fit"
    )
    precision: Precision = setting(Precision.auto, "of matrix products; int8 is for decode.precision alone")
    stall_minutes: float | None = setting(
        30.0,
        "print the stacks of every process where no update or validation has ended for so long; null: never",
        above=0,
    )
    max_skipped: int = setting(20, "give up after so many updates in a row with a gradient that is not finite", least=1)

    def __post_init__(self) -> None:
        check_ranges(self, "trainer")
        refuse_int8(self.precision, "trainer.precision")
        if self.validate_command is not None:
            command_words(self.validate_command)
        if self.max_steps is None and self.max_minutes is None and self.max_epochs is None and self.patience is None:
            raise ConfigError(
                "trainer.max_steps, max_minutes, max_epochs and patience are all null: training has no end"
            )
