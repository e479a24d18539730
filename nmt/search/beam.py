"""Beam search, diverse groups included, over the step protocol of nmt/models/seq2seq.py.

Shape letters: B sentences still searched, G groups, K live hypotheses of all groups, N ended hypotheses of a group.
Every sentence of a batch is searched as if it were alone.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from nmt.batch import BOS, EOS
from nmt.models.seq2seq import AttentionMaps, Seq2Seq, State
from nmt.search.config import DecodeConfig, Stopping
from nmt.search.hypothesis import Hypothesis, Trace, best_first
from nmt.search.penalty import coverage_penalty, length_score, score_bound
from nmt.search.request import Request, attention_received, largest, log_probabilities, no_hypothesis, survivors
from nmt.search.rules import FORBIDDEN, Rules


class EndedHypotheses(NamedTuple):
    """The best ended hypotheses of each group; minus infinity where there are fewer than N."""

    score: Tensor  # (B, G, N), falling
    log_prob: Tensor  # (B, G, N)
    place: Tensor  # (B, G, N) int64: step * beam_size + slot in which it ended
    total: Tensor  # (B, G) int64: how many have ended, those beyond the best N included


@dataclass(frozen=True)
class LiveHypotheses:
    """The hypotheses that have not ended, and all else that has a row for each sentence still searched."""

    rows: Tensor  # (B,) their numbers in the batch
    state: State
    tokens: Tensor  # (B, K) last token of each hypothesis; groups one after the other
    log_prob: Tensor  # (B, K) minus infinity for the hypotheses of sentences that are done
    ended: EndedHypotheses
    limit: Tensor  # (B,) most tokens
    real: Tensor  # (B, S) source words
    rules: Rules
    coverage: Tensor | None = None  # (B, K, S) attention received so far
    history: Tensor | None = None  # (B, K, t) tokens so far

    def keep(self, sentences: Tensor) -> "LiveHypotheses":
        """Only these rows."""
        return LiveHypotheses(
            self.rows[sentences],
            self.state.keep(sentences),
            self.tokens[sentences],
            self.log_prob[sentences],
            EndedHypotheses(*(x[sentences] for x in self.ended)),
            self.limit[sentences],
            self.real[sentences],
            self.rules.keep(sentences),
            None if self.coverage is None else self.coverage[sentences],
            None if self.history is None else self.history[sentences],
        )


def beam_search(model: Seq2Seq, request: Request, config: DecodeConfig, want_maps: bool) -> list[list[Hypothesis]]:
    """The n best hypotheses of each sentence of ``request``.

    A step extends the live hypotheses of a group by every token and ranks the extensions by log-probability.  Of
    the best K / G, those by end-of-sentence have ended; the best K / G others live on.  Ended hypotheses are ranked
    by score (nmt/search/penalty.py).  A sentence is done by the rule of ``Stopping``.

    With G > 1 (Vijayakumar et al. 2018, algorithm 1, Hamming diversity) group g ranks by log-probability minus
    ``diversity`` times the number of hypotheses of groups before it that chose the same token in this step; this
    cost is forgotten after the choice.
    """
    live = empty_hypotheses(model, request, config)
    B, steps = live.rows.size(0), request.longest + 1
    trace = Trace(steps, B, config.beam_size, live.rows.device)
    ended = live.ended  # of the whole batch; ``live`` holds those of the sentences still searched
    on_cpu = live.rows.device.type == "cpu"
    for step in range(steps):
        logits, state, maps = model.step(live.tokens, live.state, want_maps or config.coverage > 0)
        if maps is not None and want_maps:
            trace.record_maps(live.rows, maps)
        live = replace(live, state=state)
        live, parents = extend(live, logits, maps, step, config, skip_unended=on_cpu)
        trace.record(step, live.rows, live.tokens, parents)
        alive = survivors((live.log_prob == FORBIDDEN).all(1), step)
        if alive is not None:
            store(ended, live)
            if not len(alive):
                break
            live = live.keep(alive)
    store(ended, live)
    return best_ended(ended, trace, model, request, config)


def empty_hypotheses(model: Seq2Seq, request: Request, config: DecodeConfig) -> LiveHypotheses:
    """One live hypothesis for each group, the empty one; none has ended."""
    B, G, device = request.source.size(0), config.groups, request.source.device
    state = model.start(model.encode(request.source, request.lengths, config.beam_size))
    if G > 1:
        state = state.reorder(torch.zeros(B, G, dtype=torch.int64, device=device))
    N = config.candidates if config.reranks else config.n_best
    nothing = torch.full((B, G, N), FORBIDDEN, device=device, dtype=torch.float64)
    place = torch.zeros(B, G, N, dtype=torch.int64, device=device)
    return LiveHypotheses(
        torch.arange(B, device=device),
        state,
        torch.full((B, G), BOS, device=device),
        torch.zeros(B, G, device=device, dtype=torch.float64),
        EndedHypotheses(nothing, nothing.clone(), place, place[..., 0].clone()),
        request.most,
        request.real,
        request.rules,
        history=torch.zeros(B, G, 0, dtype=torch.int64, device=device) if request.rules.history else None,
    )


class Choice(NamedTuple):
    """The extensions that the hypotheses of a group, or of all groups, go on with, and which hypotheses end."""

    parents: Tensor  # (B, k) slots of the hypotheses that are extended, within the group
    tokens: Tensor  # (B, k)
    log_prob: Tensor  # (B, k)
    ended: Tensor  # (B, slots) bool: which slots end here


def choose(log_probs: Tensor, base: Tensor, ends: Tensor, size: int, penalty: Tensor | None) -> Choice:
    """Rank the extensions of one group.

    log_probs (B, slots, V) of the next token, without end-of-sentence; base (B, slots) of the hypotheses so far; ends
    (B, slots) of ending here.  ``penalty`` (B, V) is taken off for the ranking alone.  Only each slot's best ``size``
    can be among the group's best.
    """
    ranked = log_probs if penalty is None else log_probs - penalty[:, None]
    values, ids = largest(ranked, min(size, log_probs.size(-1)))
    flat = (values + base[..., None]).flatten(1)
    log_prob, index = flat.topk(min(size, flat.size(1)), dim=1)
    parents = index // ids.size(-1)
    tokens = ids.flatten(1).gather(1, index)
    rivals = ends if penalty is None else ends - penalty[:, EOS, None]
    everything = torch.cat([log_prob, rivals], dim=1)
    least = everything.topk(min(size, everything.size(1)), dim=1).values[:, -1:]
    if penalty is not None:
        log_prob = log_prob + penalty.gather(1, tokens)
    return Choice(parents, tokens, log_prob, (rivals >= least) & (ends > FORBIDDEN))


def choose_in_groups(log_probs: Tensor, base: Tensor, ends: Tensor, config: DecodeConfig) -> Choice:
    """The choices of all groups side by side: parents (B, K') count the slots of all groups."""
    G, size = config.groups, config.beam_size // config.groups
    if G == 1:
        return choose(log_probs, base, ends, size, None)
    slots = log_probs.size(1) // G
    cost = log_probs.new_zeros(log_probs.size(0), log_probs.size(2))
    choices = []
    for g in range(G):
        own = slice(g * slots, (g + 1) * slots)
        choice = choose(log_probs[:, own], base[:, own], ends[:, own], size, cost)
        choices.append(choice._replace(parents=choice.parents + g * slots))
        alive = (choice.log_prob > FORBIDDEN).to(cost.dtype)
        cost = cost.scatter_add(1, choice.tokens, config.diversity * alive)
        cost[:, EOS] += config.diversity * choice.ended.sum(1)
    return Choice(*(torch.cat(parts, dim=1) for parts in zip(*choices, strict=True)))


def extend(
    live: LiveHypotheses,
    logits: Tensor,
    maps: AttentionMaps | None,
    step: int,
    config: DecodeConfig,
    skip_unended: bool,
) -> tuple[LiveHypotheses, Tensor]:
    """Extend every live hypothesis by a token, or end it.

    ``skip_unended``: look first whether any hypothesis ended, and save the work on ended ones where none did.  On CUDA
    looking costs more than it saves: it waits until all queued kernels are done.

    Returns the new live hypotheses and, for each, its parent: the slot (B, K') of the hypothesis that it extends.
    """
    log_probs = log_probabilities(logits)
    live.rules(log_probs, step, live.history)
    ends = log_probs[..., EOS] + live.log_prob
    log_probs[..., EOS] = FORBIDDEN
    choice = choose_in_groups(log_probs, live.log_prob, ends, config)
    coverage = live.coverage
    if config.coverage > 0:
        received = attention_received(maps, live.real.size(1))
        coverage = received if coverage is None else coverage + received
    ended, log_prob = live.ended, choice.log_prob
    if not skip_unended or choice.ended.any():
        ended = add_ended(live, ends.masked_fill(~choice.ended, FORBIDDEN), coverage, step, config)
    if not skip_unended or ended.total.any():
        log_prob = forbid_done(log_prob, ended, live.limit, step, config)
    parents = choice.parents
    after = replace(
        live,
        state=live.state.reorder(parents),
        tokens=choice.tokens,
        log_prob=log_prob,
        ended=ended,
        coverage=None if coverage is None else of_parents(coverage, parents),
        history=None
        if live.history is None
        else torch.cat([of_parents(live.history, parents), choice.tokens[..., None]], dim=2),
    )
    return after, parents


def of_parents(values: Tensor, parents: Tensor) -> Tensor:
    """values (B, K, X) of the hypotheses that parents (B, K') name: (B, K', X)."""
    return values.gather(1, parents[..., None].expand(-1, -1, values.size(2)))


def add_ended(
    live: LiveHypotheses, ends: Tensor, coverage: Tensor | None, step: int, config: DecodeConfig
) -> EndedHypotheses:
    """The ended hypotheses of ``live`` and those that end in this step.

    ends (B, K): log P of the hypotheses that end, minus infinity for the others.
    """
    G = config.groups
    score = length_score(ends, step + 1, config)
    if coverage is not None:
        score = score + coverage_penalty(coverage, live.real, config)
    place = torch.arange(ends.size(1), device=ends.device).add(step * config.beam_size).expand_as(ends)
    before, N = live.ended, live.ended.score.size(2)
    merged, index = torch.cat([before.score, score.unflatten(1, (G, -1))], dim=2).topk(N, dim=2)
    return EndedHypotheses(
        merged,
        torch.cat([before.log_prob, ends.unflatten(1, (G, -1))], dim=2).gather(2, index),
        torch.cat([before.place, place.unflatten(1, (G, -1))], dim=2).gather(2, index),
        before.total + (ends > FORBIDDEN).unflatten(1, (G, -1)).sum(2),
    )


def forbid_done(log_prob: Tensor, ended: EndedHypotheses, limit: Tensor, step: int, config: DecodeConfig) -> Tensor:
    """log_prob (B, K) of the live hypotheses, minus infinity in groups that are done: nothing of them ends any more."""
    groups = log_prob.unflatten(1, (config.groups, -1))
    bound = score_bound(groups.amax(2), step + 2, limit[:, None] + 1, config)
    done = bound <= ended.score[..., -1]
    if config.stopping is Stopping.full or config.beam_size == 1:
        done = done | (ended.total >= config.beam_size // config.groups)
    return groups.masked_fill(done[..., None], FORBIDDEN).flatten(1)


def store(ended: EndedHypotheses, live: LiveHypotheses) -> None:
    """Copy the ended hypotheses of the sentences still searched into those of the whole batch."""
    for whole, part in zip(ended, live.ended, strict=True):
        if part is not whole:  # as long as none has ended
            whole.index_copy_(0, live.rows, part)


def best_ended(
    ended: EndedHypotheses, trace: Trace, model: Seq2Seq, request: Request, config: DecodeConfig
) -> list[list[Hypothesis]]:
    """The ended hypotheses with their tokens and maps, best first; groups are merged by score.

    Raises UserError for a sentence that has none.
    """
    score, log_prob, place = (x.flatten(1).cpu().numpy() for x in (ended.score, ended.log_prob, ended.place))
    resolved = trace.resolve(place // config.beam_size, place % config.beam_size)
    result = []
    for b, limit in enumerate(request.limits):
        positions = request.sizes[b] + model.source_eos
        found = (
            resolved.hypothesis(b, n, float(score[b, n]), float(log_prob[b, n]), limit, positions)
            for n in range(score.shape[1])
            if score[b, n] > FORBIDDEN
        )
        result.append(best_first(found, ended.score.size(2)))
        if not result[-1]:
            raise no_hypothesis(request.numbers[b])
    return result
