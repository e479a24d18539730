"""The protocol between models and everything above them.

Shape letters: B sentences, S source positions, T target positions, K hypotheses a sentence, V target
vocabulary.  Training calls ``forward``; search calls ``encode``, ``start`` and ``step`` and never
learns which model it drives.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import torch.nn.functional as F
from torch import Tensor, nn

from nmt.batch import EOS, PAD, Batch
from nmt.errors import ConfigError
from nmt.settings import check_ranges, setting


class Tied(Enum):
    """Which tables of word vectors are one."""

    none = "none"
    target = "target"  # target embedding = output projection (Press and Wolf 2017)
    all = "all"  # the source embedding too; needs a joint vocabulary (Press and Wolf 2017, three-way)


def check_tied(tied: Tied, joint: bool) -> None:
    """Raise ConfigError where both sides shall share word vectors and have separate vocabularies (``joint`` false)."""
    if tied is Tied.all and not joint:
        raise ConfigError("model.tied=all needs one vocabulary for both sides: data.tokenizer.joint=true")


def unknown(name: str) -> None:
    """Nothing is known of a name that is not in a table."""


class Choices(NamedTuple):
    """A key of a model whose value is one of several dataclasses, as model.attention: a config group of its own."""

    base: type  # of the dataclasses; the type of the field
    table: Collection[type]  # the dataclasses, by their ``name``; a row that is added to it later is a choice, too
    default: str
    said_as: str = ""  # the key that messages of the dataclasses name, where they are not of this group alone
    why_not: Callable[[str], str | None] = unknown  # why a name that is not in the table is none, where that is known

    @property
    def configs(self) -> tuple[type, ...]:
        """What there is to choose from now."""
        return tuple(self.table)


@dataclass
class ModelConfig:
    """Fields common to all models, and how a configuration becomes one."""

    name: str = "?"
    dropout: float = setting(0.2, "dropout probability", least=0, below=1)

    # By field name; the command line, --help and the checks read it.
    choices: ClassVar[dict[str, Choices]] = {}

    def __post_init__(self) -> None:
        check_ranges(self, "model")

    @property
    def attention_heads(self) -> tuple[int, int] | None:
        """Layers, and heads of each, that attend to the source; None where the model has no such attention."""
        return None

    def build(self, source_size: int, target_size: int, joint: bool, label_smoothing: float = 0.0) -> "Seq2Seq":
        """The model with fresh weights; sizes of the vocabularies, and whether both sides have the same one.

        Raises ConfigError where a choice was not made, or the vocabularies do not suit the model.
        """
        raise NotImplementedError


class AttentionMaps(NamedTuple):
    """Attention weights with the centre and the half width of the window that they were read in; made when asked for.

    The one record of them: of a batch (B, layers, heads, N, S), and without B of a single sentence.  N counts target
    positions or hypotheses.  S counts the model's own source positions: one more than the words where it adds an
    end-of-sentence (``Seq2Seq.source_eos``), in natural order whatever the encoder reverses.
    """

    weights: Tensor  # ([B,] layers, heads, N, S) float32
    centre: Tensor | None = None  # ([B,] layers, heads, N) centre of a local window (real-valued for local_p)
    half_width: int | None = None  # D: the window is floor(centre) plus and minus D

    def cpu(self) -> "AttentionMaps":
        """The same in main memory, in float32."""
        centre = None if self.centre is None else self.centre.float().cpu()
        return AttentionMaps(self.weights.float().cpu(), centre, self.half_width)

    def of_sentence(self, row: int, target: int, source: int) -> "AttentionMaps":
        """One sentence of a batch: its first ``target`` queries and ``source`` positions, (layers, heads, T, S)."""
        centre = None if self.centre is None else self.centre[row, :, :, :target]
        return AttentionMaps(self.weights[row, :, :, :target, :source], centre, self.half_width)


def zero_based(number: int, count: int, key: str) -> int:
    """The index of a layer or head: 1 is the first, -1 the last, -2 the one before it or the only one there is.

    Raises ConfigError, naming ``key``, where there are fewer.
    """
    if not -max(count, 2) <= number <= count:
        raise ConfigError(f"{key}={number}: this model has only {count}")
    return number - 1 if number > 0 else max(count + number, 0)


class Output(NamedTuple):
    """Result of teacher forcing."""

    loss_sum: Tensor  # () the training criterion, label smoothing included, summed over target tokens
    tokens: Tensor  # () int64, how many target tokens that sum holds
    nll: Tensor  # (B, T) float32, -log p(y_t | y_<t, x) without smoothing, detached; 0 at padding
    maps: AttentionMaps | None = None  # N = T
    # With the maps, of a latent alignment: p(s | x, y_t), which has seen the word.  Has no gradient; search makes none.
    posterior: AttentionMaps | None = None


def append_eos(source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """source (B, S), lengths (B,) -> (B, S + 1) with end-of-sentence after each sentence, and the new lengths."""
    return F.pad(source, (0, 1), value=PAD).scatter(1, lengths[:, None], EOS), lengths + 1


class State(Protocol):
    """A decoder's memory of K hypotheses for each of B sentences.  Immutable: methods return a new one."""

    def reorder(self, parent: Tensor) -> Self:
        """Hypothesis k of the result continues hypothesis ``parent[b, k]``; parent (B, K'), K' may differ from K."""
        ...

    def keep(self, sentences: Tensor) -> Self:
        """Only these rows (B',) int64 of the batch, encoder memory included."""
        ...


class Seq2Seq(nn.Module):
    """An encoder-decoder."""

    source_eos: bool  # whether ``encode`` appends EOS to each source
    target_size: int  # V
    longest_source: int | None = None  # most positions that ``encode`` takes, end-of-sentence included; None: any
    longest_target: int | None = None  # most that the decoder reads, from BOS on; None: any

    def encode(self, source: Tensor, lengths: Tensor, hypotheses: int = 1) -> Any:
        """source (B, S), lengths (B,) -> an encoding that only ``start`` of the same model understands.

        ``hypotheses``: how many a sentence will be read at a time (K).  It decides what is worth doing once and
        changes no result.
        """
        raise NotImplementedError

    def forward(self, batch: Batch, want_maps: bool = False, r_drop: float = 0.0, cutoff: float = 0.0) -> Output:
        """Teacher forcing; projection and loss run inside, so that DDP wraps the whole.

        The maps are part of the graph: a loss may be made of them.  With ``r_drop`` alpha or ``cutoff`` beta, sentences
        2b and 2b + 1 are the same (``Batch.doubled``, ``two_views``), and loss_sum also holds the divergence of their
        predictions (nmt/models/ops/r_drop.py).
        """
        raise NotImplementedError

    def shared_parts(self) -> list[nn.Module]:
        """Parts that are not inside one another and use no weights but their own: training may divide them in turn."""
        return []

    def self_maps(self, batch: Batch) -> tuple[Tensor | None, Tensor | None] | None:
        """Self-attention of the encoder (B, layers, heads, S, S) and the decoder (B, layers, heads, T, T), float32.

        None where there is none, in the place of either or of both.  Rows of padding mean nothing; a row is 0 where
        there is nothing to look at, as for the first of the words that look at those before them.
        """
        return None

    def start(self, encoded: Any) -> State:
        """The state before the first target token, with K = 1."""
        raise NotImplementedError

    def step(self, tokens: Tensor, state: State, want_maps: bool = False) -> tuple[Tensor, State, AttentionMaps | None]:
        """Read tokens (B, K), return logits (B, K, V), the next state and, if asked, maps with N = K.  No gradients."""
        raise NotImplementedError
