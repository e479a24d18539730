"""Beam search, diverse groups included, over the step protocol of nmt/models/seq2seq.py.

Shape letters: B sentences still searched, G groups, K hypotheses of all groups, N ended hypotheses remembered.
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
from nmt.search.request import Problem, attention_received, largest, log_probabilities, no_hypothesis, survivors
from nmt.search.rules import FORBIDDEN, Rules


class Pool(NamedTuple):
    """The best ended hypotheses of each group; minus infinity where there are fewer than N."""

    score: Tensor  # (B, G, N), falling
    log_prob: Tensor  # (B, G, N)
    place: Tensor  # (B, G, N) int64: step * K + slot in which it ended
    endings: Tensor  # (B, G) how many have ended at all


@dataclass(frozen=True)
class Live:
    """All that has a row for each sentence still searched."""

    rows: Tensor  # (B,) their numbers in the batch
    state: State
    tokens: Tensor  # (B, K) last token of each hypothesis; groups one after the other
    log_prob: Tensor  # (B, K) minus infinity for the hypotheses of sentences that are done
    pool: Pool
    limit: Tensor  # (B,) most tokens
    real: Tensor  # (B, S) source words
    rules: Rules
    coverage: Tensor | None = None  # (B, K, S) attention received so far
    history: Tensor | None = None  # (B, K, t) tokens so far

    def keep(self, sentences: Tensor) -> "Live":
        """Only these rows."""
        return Live(
            self.rows[sentences],
            self.state.keep(sentences),
            self.tokens[sentences],
            self.log_prob[sentences],
            Pool(*(x[sentences] for x in self.pool)),
            self.limit[sentences],
            self.real[sentences],
            self.rules.keep(sentences),
            None if self.coverage is None else self.coverage[sentences],
            None if self.history is None else self.history[sentences],
        )


def beam_search(model: Seq2Seq, problem: Problem, config: DecodeConfig, want_maps: bool) -> list[list[Hypothesis]]:
    """The n best hypotheses of each sentence of ``problem``.

    A step extends the live hypotheses of a group by every token and ranks the extensions by log-probability.  Of
    the best K / G, those by end-of-sentence have ended; the best K / G others live on.  Ended hypotheses are ranked
    by score (nmt/search/penalty.py).  A sentence is done by the rule of ``Stopping``.

    With G > 1 (Vijayakumar et al. 2018, algorithm 1, Hamming diversity) group g ranks by log-probability minus
    ``diversity`` times the number of hypotheses of groups before it that chose the same token in this step; this
    cost is forgotten after the choice.
    """
    live = begin(model, problem, config)
    B, steps = live.rows.size(0), problem.longest + 1
    trace = Trace(steps, B, config.beam_size, live.rows.device)
    ended = live.pool
    on_cpu = live.rows.device.type == "cpu"
    for step in range(steps):
        logits, state, maps = model.step(live.tokens, live.state, want_maps or config.coverage > 0)
        if maps is not None and want_maps:
            trace.record_maps(live.rows, maps)
        live = replace(live, state=state)
        live, parents = advance(live, logits, maps, step, config, skip_unended=on_cpu)
        trace.record(step, live.rows, live.tokens, parents)
        alive = survivors((live.log_prob == FORBIDDEN).all(1), step)
        if alive is not None:
            write(ended, live)
            if not len(alive):
                break
            live = live.keep(alive)
    write(ended, live)
    return collect(ended, trace, model, problem, config)


def begin(model: Seq2Seq, problem: Problem, config: DecodeConfig) -> Live:
    """One live hypothesis a group: the empty one."""
    B, G, device = problem.source.size(0), config.groups, problem.source.device
    state = model.start(model.encode(problem.source, problem.lengths, config.beam_size))
    if G > 1:
        state = state.reorder(torch.zeros(B, G, dtype=torch.int64, device=device))
    N = config.candidates if config.reranks else config.n_best
    nothing = torch.full((B, G, N), FORBIDDEN, device=device, dtype=torch.float64)
    place = torch.zeros(B, G, N, dtype=torch.int64, device=device)
    return Live(
        torch.arange(B, device=device),
        state,
        torch.full((B, G), BOS, device=device),
        torch.zeros(B, G, device=device, dtype=torch.float64),
        Pool(nothing, nothing.clone(), place, place[..., 0].clone()),
        problem.most,
        problem.real,
        problem.rules,
        history=torch.zeros(B, G, 0, dtype=torch.int64, device=device) if problem.rules.history else None,
    )


class Choice(NamedTuple):
    """What the hypotheses of one group do next."""

    parents: Tensor  # (B, k) slots within the group
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


def advance(
    live: Live, logits: Tensor, maps: AttentionMaps | None, step: int, config: DecodeConfig, skip_unended: bool
) -> tuple[Live, Tensor]:
    """One step of every live hypothesis.  ``skip_unended``: look first whether anything ended, which costs CUDA a sync.

    Returns the new Live and the parents (B, K') of its hypotheses.
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
    pool, log_prob = live.pool, choice.log_prob
    if not skip_unended or choice.ended.any():
        pool = add_ended(live, ends.masked_fill(~choice.ended, FORBIDDEN), coverage, step, config)
    if not skip_unended or pool.endings.any():
        log_prob = drop_done(log_prob, pool, live.limit, step, config)
    parents = choice.parents
    return replace(
        live,
        state=live.state.reorder(parents),
        tokens=choice.tokens,
        log_prob=log_prob,
        pool=pool,
        coverage=None if coverage is None else of_parents(coverage, parents),
        history=None
        if live.history is None
        else torch.cat([of_parents(live.history, parents), choice.tokens[..., None]], dim=2),
    ), parents


def of_parents(values: Tensor, parents: Tensor) -> Tensor:
    """values (B, K, X) of the hypotheses that parents (B, K') name: (B, K', X)."""
    return values.gather(1, parents[..., None].expand(-1, -1, values.size(2)))


def add_ended(live: Live, ends: Tensor, coverage: Tensor | None, step: int, config: DecodeConfig) -> Pool:
    """The pool with the hypotheses that end in this step: ends (B, K) their log P, minus infinity for the others."""
    G = config.groups
    score = length_score(ends, step + 1, config)
    if coverage is not None:
        score = score + coverage_penalty(coverage, live.real, config)
    place = torch.arange(ends.size(1), device=ends.device).add(step * config.beam_size).expand_as(ends)
    pool, N = live.pool, live.pool.score.size(2)
    merged, index = torch.cat([pool.score, score.unflatten(1, (G, -1))], dim=2).topk(N, dim=2)
    return Pool(
        merged,
        torch.cat([pool.log_prob, ends.unflatten(1, (G, -1))], dim=2).gather(2, index),
        torch.cat([pool.place, place.unflatten(1, (G, -1))], dim=2).gather(2, index),
        pool.endings + (ends > FORBIDDEN).unflatten(1, (G, -1)).sum(2),
    )


def drop_done(log_prob: Tensor, pool: Pool, limit: Tensor, step: int, config: DecodeConfig) -> Tensor:
    """Live log_prob (B, K) with minus infinity in the groups that are done, so that they are final."""
    groups = log_prob.unflatten(1, (config.groups, -1))
    bound = score_bound(groups.amax(2), step + 2, limit[:, None] + 1, config)
    done = bound <= pool.score[..., -1]
    if config.stopping is Stopping.full or config.beam_size == 1:
        done = done | (pool.endings >= config.beam_size // config.groups)
    return groups.masked_fill(done[..., None], FORBIDDEN).flatten(1)


def write(ended: Pool, live: Live) -> None:
    """Copy the rows of ``live`` into the pool of the whole batch."""
    for whole, part in zip(ended, live.pool, strict=True):
        whole.index_copy_(0, live.rows, part)


def collect(
    ended: Pool, trace: Trace, model: Seq2Seq, problem: Problem, config: DecodeConfig
) -> list[list[Hypothesis]]:
    """Put the ended hypotheses together; groups are merged by score."""
    score, log_prob, place = (x.flatten(1).cpu().numpy() for x in (ended.score, ended.log_prob, ended.place))
    resolved = trace.resolve(place // config.beam_size, place % config.beam_size)
    result = []
    for b, limit in enumerate(problem.limits):
        positions = problem.sizes[b] + model.source_eos
        found = (
            resolved.hypothesis(b, n, float(score[b, n]), float(log_prob[b, n]), limit, positions)
            for n in range(score.shape[1])
            if score[b, n] > FORBIDDEN
        )
        result.append(best_first(found, ended.score.size(2)))
        if not result[-1]:
            raise no_hypothesis(problem.numbers[b])
    return result
