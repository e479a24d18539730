"""Searches whose hypotheses do not compete: greedy search and independent draws from the model.

Shape letters: B sentences still searched, K draws a sentence.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nmt.batch import BOS, EOS
from nmt.models.seq2seq import AttentionMaps, Seq2Seq, State
from nmt.search.config import DecodeConfig, Method
from nmt.search.hypothesis import Hypothesis, Trace
from nmt.search.penalty import coverage_penalty, length_score
from nmt.search.request import Request, attention_received, log_probabilities, no_hypothesis, survivors
from nmt.search.rules import FORBIDDEN, Rules

# Log-probabilities (B, K, V), the step and the rows' numbers in the batch to tokens (B, K).
Chooser = Callable[[Tensor, int, Tensor], Tensor]


@dataclass(frozen=True)
class Draws:
    """The draws, and all else that has a row for each sentence still searched."""

    rows: Tensor  # (B,) their numbers in the batch
    state: State
    tokens: Tensor  # (B, K)
    log_prob: Tensor  # (B, K)
    end: Tensor  # (B, K) the step in which a draw ended, -1 while it goes on
    rules: Rules
    coverage: Tensor  # (B, K, S), with S = 0 where it is not asked for
    history: Tensor | None  # (B, K, t)

    def keep(self, sentences: Tensor) -> "Draws":
        """Only these rows."""
        return Draws(
            self.rows[sentences],
            self.state.keep(sentences),
            self.tokens[sentences],
            self.log_prob[sentences],
            self.end[sentences],
            self.rules.keep(sentences),
            self.coverage[sentences],
            None if self.history is None else self.history[sentences],
        )


def search_by_sampling(
    model: Seq2Seq, request: Request, config: DecodeConfig, want_maps: bool
) -> list[list[Hypothesis]]:
    """Greedy search (method=beam) or ``samples`` independent draws (method=sample), best scored first.

    Draws of a sentence depend on the seed, the sentence's number and the model alone, not on its batch.  They may be
    equal: their frequencies carry the model's distribution.  ``score`` and ``log_prob`` are those of the model itself,
    without temperature and truncation.
    """
    K, device = config.samples if config.method is Method.sample else 1, request.source.device
    choose = sampler(request, config) if config.method is Method.sample else most_probable
    B, S, steps = *request.source.shape, request.longest + 1
    state = model.start(model.encode(request.source, request.lengths, K))
    draws = Draws(
        torch.arange(B, device=device),
        state.reorder(torch.zeros(B, K, dtype=torch.int64, device=device)) if K > 1 else state,
        torch.full((B, K), BOS, device=device),
        torch.zeros(B, K, dtype=torch.float64, device=device),
        torch.full((B, K), -1, device=device),
        request.rules,
        torch.zeros(B, K, S if config.coverage > 0 else 0, dtype=torch.float64, device=device),
        torch.zeros(B, K, 0, dtype=torch.int64, device=device) if request.rules.history else None,
    )
    log_prob, end, coverage = draws.log_prob.clone(), draws.end.clone(), draws.coverage.clone()
    trace, slots = Trace(steps, B, K, device), torch.arange(K, device=device)
    for step in range(steps):
        logits, state, maps = model.step(draws.tokens, draws.state, want_maps or config.coverage > 0)
        if maps is not None and want_maps:
            trace.record_maps(draws.rows, maps)
        draws = append_tokens(replace(draws, state=state), logits, maps, step, choose)
        trace.record(step, draws.rows, draws.tokens, slots.expand_as(draws.tokens))
        alive = survivors((draws.end >= 0).all(1), step)
        if alive is not None or step == steps - 1:
            for whole, part in ((log_prob, draws.log_prob), (end, draws.end), (coverage, draws.coverage)):
                whole.index_copy_(0, draws.rows, part)
        if alive is not None:
            if not len(alive):
                break
            draws = draws.keep(alive)
    score = length_score(log_prob, end + 1, config)
    if config.coverage > 0:
        score = score + coverage_penalty(coverage, request.real, config)
    return best_draws(score, log_prob, end, trace, model, request, config)


def append_tokens(draws: Draws, logits: Tensor, maps: AttentionMaps | None, step: int, choose: Chooser) -> Draws:
    """One more token for every draw; what is appended to a draw that has ended does not count."""
    log_probs = log_probabilities(logits)
    draws.rules(log_probs, step, draws.history)
    tokens = choose(log_probs, step, draws.rows)
    gained = log_probs.gather(2, tokens[..., None]).squeeze(2)
    running = draws.end < 0
    coverage = draws.coverage
    if coverage.size(2):
        coverage = coverage + attention_received(maps, coverage.size(2)) * running[..., None]
    return replace(
        draws,
        tokens=tokens,
        log_prob=draws.log_prob + gained.masked_fill(~running, 0.0),
        end=draws.end.masked_fill(running & (tokens == EOS), step),
        coverage=coverage,
        history=None if draws.history is None else torch.cat([draws.history, tokens[..., None]], dim=2),
    )


def most_probable(log_probs: Tensor, step: int, rows: Tensor) -> Tensor:
    """argmax p"""
    return log_probs.argmax(-1)


def sampler(request: Request, config: DecodeConfig) -> Chooser:
    """Draws by inverting the cumulative distribution at uniform numbers fixed by (seed, sentence, step, draw)."""
    shape = (request.longest + 1, config.samples)  # steps first, so that the numbers do not depend on the limit
    uniform = np.stack([np.random.default_rng([config.seed, n]).random(shape) for n in request.numbers])
    table = torch.from_numpy(uniform).to(request.source.device)

    def choose(log_probs: Tensor, step: int, rows: Tensor) -> Tensor:
        total = truncated(log_probs, config).softmax(-1).cumsum(-1, dtype=torch.float64)
        # Below the last sum, whatever the rounding; a token without probability is never the first above a point.
        last = total[..., -1].nextafter(total.new_zeros(()))
        point = torch.minimum(table[rows, step] * total[..., -1], last)
        return torch.searchsorted(total, point[..., None], right=True).squeeze(-1).clamp(max=log_probs.size(-1) - 1)

    return choose


def truncated(logits: Tensor, config: DecodeConfig) -> Tensor:
    """Logits with minus infinity where nothing is drawn; each truncation works on what the one before left.

    temperature  p_i proportional to exp(logit_i / temperature)
    top_k        the k most probable tokens                                   (Fan et al. 2018, section 5.4)
    top_p        the fewest, most probable, tokens with sum of p >= top_p     (Holtzman et al. 2020, section 3.1)
    epsilon      tokens with p >= epsilon, at least the most probable         (Hewitt et al. 2022, section 4)
    """
    logits = logits / config.temperature
    if config.top_k is not None and config.top_k < logits.size(-1):
        logits = logits.masked_fill(logits < logits.topk(config.top_k).values[..., -1:], FORBIDDEN)
    if config.top_p < 1:
        p, order = logits.softmax(-1).sort(dim=-1, descending=True)
        outside = p.cumsum(-1) - p >= config.top_p  # the tokens before it suffice
        logits = logits.masked_fill(outside.gather(-1, order.argsort(-1)), FORBIDDEN)
    if config.epsilon > 0:
        p = logits.softmax(-1)
        logits = logits.masked_fill((p < config.epsilon) & (p < p.amax(-1, keepdim=True)), FORBIDDEN)
    return logits


def best_draws(
    score: Tensor, log_prob: Tensor, end: Tensor, trace: Trace, model: Seq2Seq, request: Request, config: DecodeConfig
) -> list[list[Hypothesis]]:
    """The draws (B, K) with their tokens and maps, the best scored first.

    Raises UserError for a sentence of which a score is not finite.
    """
    scores, log_probs, ends = score.cpu().numpy(), log_prob.cpu().numpy(), end.cpu().numpy()
    resolved = trace.resolve(ends, np.broadcast_to(np.arange(ends.shape[1]), ends.shape))
    result = []
    for b, limit in enumerate(request.limits):
        if not np.isfinite(scores[b]).all():
            raise no_hypothesis(request.numbers[b])
        positions = request.sizes[b] + model.source_eos
        order = np.argsort(-scores[b], kind="stable")
        result.append(
            [
                resolved.hypothesis(b, k, float(scores[b, k]), float(log_probs[b, k]), limit, positions)
                for k in map(int, order)
            ]
        )
    return result
