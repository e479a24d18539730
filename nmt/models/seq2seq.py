"""The protocol between models and everything above them.

Shape letters: B sentences, S source positions, T target positions, K hypotheses a sentence, V target
vocabulary.  Training calls ``forward``; search calls ``encode``, ``start`` and ``step`` and never
learns which model it drives.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, Self

from torch import Tensor, nn

from nmt.batch import Batch


@dataclass
class ModelConfig:
    """Fields common to all models."""

    name: str = "?"
    dropout: float = field(default=0.2, metadata={"help": "dropout probability"})


class Maps(NamedTuple):
    """Attention weights for pictures and alignments; made only when asked for.

    S counts the model's own source positions: one more than the words where it adds an
    end-of-sentence (``Seq2Seq.source_eos``), in natural order whatever the encoder reverses.
    """

    weights: Tensor  # (B, layers, heads, N, S) float32
    centre: Tensor | None = None  # (B, layers, heads, N) where a local window stands (real-valued for local_p)
    half_width: int | None = None  # D: the window is floor(centre) plus and minus D


class Output(NamedTuple):
    """Result of teacher forcing."""

    loss_sum: Tensor  # () the training criterion, label smoothing included, summed over target tokens
    tokens: Tensor  # () int64, how many target tokens that sum holds
    nll: Tensor  # (B, T) float32, -log p(y_t | y_<t, x) without smoothing, detached; 0 at padding
    maps: Maps | None = None  # N = T
    extra_loss: Tensor | None = None  # () to be added after normalization, by a mechanism that needs it


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

    def encode(self, source: Tensor, lengths: Tensor) -> Any:
        """source (B, S), lengths (B,) -> an encoding that only ``start`` of the same model understands."""
        raise NotImplementedError

    def forward(self, batch: Batch, want_maps: bool = False) -> Output:
        """Teacher forcing; projection and loss run inside, so that DDP wraps the whole."""
        raise NotImplementedError

    def start(self, encoded: Any) -> State:
        """The state before the first target token, with K = 1."""
        raise NotImplementedError

    def step(self, tokens: Tensor, state: State, want_maps: bool = False) -> tuple[Tensor, State, Maps | None]:
        """Read tokens (B, K), return logits (B, K, V), the next state and, if asked, maps with N = K."""
        raise NotImplementedError
