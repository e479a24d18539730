"""Ensembles against their formulas, and averages of weights."""

import math

import pytest
import torch
from table_model import TableModel, all_sentences
from test_beam import SOURCES, run

from nmt.batch import collate
from nmt.errors import ConfigError, RunError
from nmt.search import Average, DecodeConfig, Ensemble, LengthPenalty, Stopping, average_states, score_ids

MEMBERS = (TableModel(seed=1), TableModel(seed=2, source_eos=True), TableModel(seed=3))


def mean_log_prob(source, ids, average):
    """log P of a sentence under the ensemble, token by token."""
    total = 0.0
    for t, token in enumerate([*ids, 3]):
        rows = [m.next_log_probs(source, ids[:t]) for m in MEMBERS]
        if average is Average.probabilities:
            total += math.log(sum(math.exp(row[token]) for row in rows) / len(rows))
        else:
            means = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
            total += means[token] - math.log(sum(math.exp(m) for m in means))
    return total


@pytest.mark.parametrize("average", list(Average), ids=lambda a: a.name)
def test_ensemble_search_is_exact(average):
    """A wide beam over an ensemble finds the best sentences under the mean distribution."""
    model = Ensemble(MEMBERS, average)
    config = DecodeConfig(
        beam_size=45, n_best=4, max_length=3, max_ratio=None, length_penalty=LengthPenalty.none, stopping=Stopping.safe
    )
    for source, found in zip(SOURCES, run(model, SOURCES, config), strict=True):
        scored = sorted(((mean_log_prob(source, ids, average), ids) for ids in all_sentences(0, 3)), reverse=True)
        assert [h.ids for h in found] == [ids for _, ids in scored[:4]]
        assert [h.score for h in found] == pytest.approx([score for score, _ in scored[:4]], abs=1e-10)


@pytest.mark.parametrize("average", list(Average), ids=lambda a: a.name)
def test_ensemble_of_equals_is_the_model(average):
    """Three times the same model decides and scores as that model."""
    config = DecodeConfig(beam_size=3, n_best=3)
    one = run(MEMBERS[0], SOURCES, config)
    three = run(Ensemble([MEMBERS[0]] * 3, average), SOURCES, config)
    for a, b in zip(one, three, strict=True):
        assert [h.ids for h in a] == [h.ids for h in b]
        assert [h.score for h in a] == pytest.approx([h.score for h in b], abs=1e-10)


def test_maps_of_an_ensemble_are_the_mean():
    """Over members, layers and heads; the end-of-sentence that one member adds keeps that member's share."""
    model = Ensemble(MEMBERS)
    config = DecodeConfig(beam_size=3)
    for source, (h,) in zip(SOURCES, run(model, SOURCES, config, want_maps=True), strict=True):
        assert h.maps is not None
        assert h.maps.weights.shape == (1, 1, len(h.ids) + 1, len(source) + 1)
        for t in range(len(h.ids) + 1):
            expected = torch.zeros(len(source) + 1, dtype=torch.float64)
            for m in MEMBERS:
                S = len(source) + m.source_eos
                row = m.attention[source[0], m.node(h.ids[:t]), ..., :S].softmax(-1).mean((0, 1))
                expected[:S] += row / len(MEMBERS)
            assert torch.allclose(h.maps.weights[0, 0, t], expected.float())
    (scored,) = score_ids(model, SOURCES[:1], [[[4, 5]]], config, torch.device("cpu"))
    assert scored[0].log_prob == pytest.approx(mean_log_prob(SOURCES[0], [4, 5], Average.probabilities))


@pytest.mark.parametrize("average", list(Average), ids=lambda a: a.name)
def test_teacher_forcing_is_the_sum_of_the_steps(average):
    """Each token's loss by the formula, padding 0; the maps are those of search."""
    model, targets = Ensemble(MEMBERS, average), [[4, 5], [6], []]
    output = model(collate(SOURCES[:3], targets, [0, 1, 2]), want_maps=True)
    expected = [-mean_log_prob(s, t, average) for s, t in zip(SOURCES, targets, strict=False)]
    assert output.nll.sum(1).tolist() == pytest.approx(expected, abs=1e-10)
    assert output.loss_sum.item() == pytest.approx(sum(expected), abs=1e-10)
    assert (output.tokens, output.nll.shape) == (6, (3, 3))
    config = DecodeConfig(beam_size=2, allow_unk=True)
    ((h, *_),) = run(model, SOURCES[:1], config, True, prefixes=[targets[0]])
    assert h.maps is not None
    forced = output.maps.weights[0, :, :, :3, : len(SOURCES[0]) + 1]
    assert torch.allclose(forced, h.maps.weights[:, :, :3])  # of the same beginning


def test_members_without_attention():
    """Maps are those of the members that have any; None if none has."""
    blind = TableModel(seed=5)
    step = blind.step
    blind.step = lambda tokens, state, want_maps=False: step(tokens, state)
    batch = collate(SOURCES[:2], [[4], [5, 6]], [0, 1])
    one, alone = Ensemble([MEMBERS[0], blind])(batch, True).maps, Ensemble([MEMBERS[0]])(batch, True).maps
    assert torch.equal(one.weights, alone.weights)
    assert Ensemble([blind, blind])(batch, True).maps is None


def test_the_longest_source_is_what_every_member_can_read():
    """In positions of the ensemble, end-of-sentence included where a member adds it."""
    short, long = TableModel(), TableModel(source_eos=True)
    assert Ensemble([short, long]).longest_source is None
    short.longest_source, long.longest_source = 5, 5
    assert Ensemble([short, TableModel()]).longest_source == 5
    assert Ensemble([short, long]).longest_source == 5
    long.longest_source = 9
    assert Ensemble([short, long]).longest_source == 6


def test_the_longest_target_is_what_every_member_can_read():
    short, long = TableModel(), TableModel()
    assert Ensemble([short, long]).longest_target is None
    short.longest_target = 5
    assert Ensemble([long, short]).longest_target == 5
    long.longest_target = 4
    assert Ensemble([short, long]).longest_target == 4


def test_different_vocabularies_are_refused():
    """By name and size."""
    odd = TableModel()
    odd.target_size = 9
    with pytest.raises(ConfigError, match=r"runs/a has 7 tokens, runs/b has 9"):
        Ensemble([TableModel(), odd], names=["runs/a", "runs/b"])


def test_average_of_checkpoints():
    """The mean of each weight, in its own type; integers from the last; odd checkpoints are named."""
    states = [{"w": torch.full((2,), x), "steps": torch.tensor(int(x))} for x in (1.0, 2.0, 6.0)]
    mean = average_states(states, ["a", "b", "c"])
    assert torch.equal(mean["w"], torch.full((2,), 3.0))
    assert mean["steps"] == 6
    with pytest.raises(RunError, match=r"c.*a.*w"):
        average_states([*states[:2], {**states[2], "w": torch.zeros(3)}], ["a", "b", "c"])
    with pytest.raises(RunError, match="v"):
        average_states([states[0], {**states[1], "v": torch.zeros(3)}], ["a", "b"])
