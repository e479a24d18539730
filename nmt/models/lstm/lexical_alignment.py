"""Lexical alignment: attention weights mix what each source word alone predicts (model.mixture=lexical).

With x_s the word vector of source position s, a_ts the attention weights of target position t, divided by their sum,
and W_c and W_s, b the readout's and the projection's weights,

    p(y_t) = sum_s a_ts p(y_t | x_s),    p(. | x_s) = softmax(W_s v_s + b),    v_s = tanh(W_c [x_s; 0])

p(y | x) knows neither the words around x nor what has been translated: it is a table of word translations, as in IBM
Model 1 (Brown et al. 1993, section 4.1), made by a network, and attention is its prior over positions, as the jumps of
a hidden Markov model are (Vogel et al. 1996).  What is left to attention is to say where the next word comes from, so
that it aligns; the translations are those of single words, and poor.  The posterior

    p(s | x, y_t) = a_ts p(y_t | x_s) / p(y_t)

is what nmt.eval.align reads.  Training maximizes

    sum_t log p(y_t) + u log sum_s d_ts p(y_t | x_s),    d_ts ~ exp(-lambda |t/T - s/S|)

with u = model.mixture_diagonal and lambda = model.mixture_tension.  The second term is the likelihood of Dyer et al.
2013 (fast_align, whose lambda starts at 4), by the same table and without its empty word; with lambda = 0 that of Model
1.  Without it attention, which learns faster than the table, stays on one position, whose word learns to predict all
words; with Model 1's the full stop at the end may stay on a frequent word of the source (docs/log.md).  That both share
a table and are trained at once is ours; the statistical aligners train one after the other.  The papers could not be
read here: the formulas are as the textbooks have them.

Shape letters: B sentences, S source positions, T target positions, N queries a sentence, E = H units, V words.
"""

import torch
from torch import Tensor

from nmt.models.attention import Attended
from nmt.models.lstm.config import LSTMConfig
from nmt.models.lstm.decoder import LSTMDecoder
from nmt.models.ops.dropout import dropout
from nmt.models.ops.matmul import PrepackedLinear, trained_linear


class LexicalAlignment:
    """What a decoder needs to mix predictions of single words.  Has no weights of its own."""

    def __init__(self, config: LSTMConfig, decoder: LSTMDecoder) -> None:
        assert decoder.readout is not None
        self.readout = decoder.readout
        self.factor = 1.0 if config.mixture_diagonal is None else config.mixture_diagonal
        self.tension = 4.0 if config.mixture_tension is None else config.mixture_tension
        self.dropout = config.dropout

    def vectors(self, words: Tensor, training: bool) -> Tensor:
        """v: words x (B, S, E) -> (B, S, H)."""
        v = trained_linear(words, self.readout.weight[:, : self.readout.out_features]).tanh()
        return dropout(v, self.dropout, training)

    def table(self, words: Tensor, project: PrepackedLinear) -> Tensor:
        """p(. | x_s) for search: (B, S, V) float32 or wider."""
        logits = project(self.vectors(words, training=False))
        return logits.to(torch.promote_types(logits.dtype, torch.float32)).softmax(2)

    @staticmethod
    def prior(steps: list[Attended], S: int) -> Tensor:
        """a of the queries of all ``steps`` one after the other: (B, N, S)."""
        weights = torch.cat([attended.dense_weights(S) for attended in steps], 1)
        return weights / weights.sum(2, keepdim=True)

    def diagonal(self, lengths: Tensor, target_lengths: Tensor, like: Tensor) -> Tensor:
        """d of sources and targets of so many words (B,), with the shape (B, T, S) and the dtype of ``like``.

        A word stands at the middle of its share of the sentence; behind the words of the target, at end-of-sentence,
        weights fall off from the end of the source.  Padding of the source has a weight of 0.
        """
        T, S = (torch.arange(n, device=like.device, dtype=like.dtype) for n in like.shape[1:])
        of_source = (S + 0.5) / lengths[:, None]
        of_target = (T + 0.5) / target_lengths.clamp_min(1)[:, None]
        distance = (of_source[:, None] - of_target[:, :, None]).abs()
        return (-self.tension * distance).masked_fill((lengths[:, None] <= S)[:, None], float("-inf")).softmax(2)

    def log_probs(self, attended: Attended, table: Tensor) -> Tensor:
        """log p(y_t) of search, from ``table`` (B, S, V): (B N, V)."""
        prior = self.prior([attended], table.size(1)).to(table.dtype)
        return (prior @ table).clamp_min(torch.finfo(table.dtype).tiny).log().flatten(0, 1)
