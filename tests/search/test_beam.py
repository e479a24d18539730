"""Beam search against enumeration of all sentences and against a slow search over lists."""

import math

import pytest
import torch
from table_model import TableModel, V, all_sentences, reference_beam, reference_score

from nmt.batch import BOS, EOS, PAD, UNK, pad
from nmt.errors import UserError
from nmt.search import DecodeConfig, LengthPenalty, Stopping, search
from nmt.search.beam import beam_search, extend
from nmt.search.penalty import length_score
from nmt.search.request import make_request

SOURCES = [[1, 4, 5], [2, 7], [3, 4, 4, 4, 4, 4, 4], [4], [5, 4, 6, 7, 8], [6, 6], [7, 1, 1, 1, 1, 1, 1, 1, 1]]
PENALTIES = [
    {"length_penalty": LengthPenalty.none},
    {"length_penalty": LengthPenalty.average},
    {"length_penalty": LengthPenalty.gnmt, "length_alpha": 0.6},
    {"length_penalty": LengthPenalty.gnmt, "length_alpha": -1.0},
    {"length_penalty": LengthPenalty.reward, "length_alpha": 0.7},
    {"length_penalty": LengthPenalty.reward, "length_alpha": -0.4},
    {"length_penalty": LengthPenalty.gnmt, "length_alpha": 1.0, "coverage": 0.4},
]
penalties = pytest.mark.parametrize(
    "penalty", PENALTIES, ids=lambda p: "-".join(str(getattr(v, "name", v)) for v in p.values())
)


def run(model, sources, config, want_maps=False, **keywords):
    lengths = torch.tensor([len(s) for s in sources])
    return search(model, pad(sources), lengths, config, want_maps, **keywords)


def maps_of(found):
    """Weights and centres of a hypothesis or a given target."""
    assert found.maps is not None
    assert found.maps.centre is not None
    return found.maps.weights, found.maps.centre


def assert_same(found, expected):
    """The same sentences in the same order, scores to rounding."""
    assert [[h.ids for h in row] for row in found] == [[h.ids for h in row] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert [h.score for h in row] == pytest.approx([h.score for h in other], abs=1e-12)


@penalties
@pytest.mark.parametrize("source_eos", [False, True])
def test_wide_beam_finds_the_n_best_of_all_sentences(penalty, source_eos):
    """A beam as wide as there are sentences returns exactly the n best, in order, with the exact scores."""
    model = TableModel(source_eos=source_eos)
    config = DecodeConfig(beam_size=125, n_best=12, max_length=4, max_ratio=None, stopping=Stopping.safe, **penalty)
    for source, found in zip(SOURCES, run(model, SOURCES, config), strict=True):
        scored = [(reference_score(model, source, ids, config), ids) for ids in all_sentences(0, 4)]
        best = sorted(scored, key=lambda pair: -pair[0])[:12]
        assert [h.ids for h in found] == [ids for _, ids in best]
        assert [h.score for h in found] == pytest.approx([score for score, _ in best], abs=1e-10)
        assert [h.log_prob for h in found] == pytest.approx([model.log_prob(source, h.ids) for h in found], abs=1e-10)
        assert [h.finished for h in found] == [len(h.ids) < 4 for h in found]


@penalties
@pytest.mark.parametrize("stopping", list(Stopping), ids=lambda s: s.name)
@pytest.mark.parametrize(("beam_size", "n_best"), [(1, 1), (2, 1), (3, 3), (5, 2)])
def test_narrow_beam_is_the_slow_search(penalty, stopping, beam_size, n_best):
    """Sentence for sentence the list search; ``safe`` is the list search that never stops early."""
    model = TableModel(seed=3, end=-0.5)
    config = DecodeConfig(beam_size=beam_size, n_best=n_best, max_ratio=1.0, max_extra=2, stopping=stopping, **penalty)
    found = run(model, SOURCES, config)
    for source, hypotheses in zip(SOURCES, found, strict=True):
        slow = reference_beam(model, source, config, to_the_limit=stopping is Stopping.safe and beam_size > 1)
        assert [tuple(h.ids) for h in hypotheses] == [ids for ids, _ in slow]
        assert [h.score for h in hypotheses] == pytest.approx([score for _, score in slow], abs=1e-10)


@pytest.mark.parametrize(
    "penalty", [*PENALTIES[1:3], {"length_penalty": LengthPenalty.reward, "length_alpha": 0.1}], ids=str
)
def test_safe_stopping_waits_for_what_only_the_limit_can_win(penalty):
    """The empty sentence ends at once; a path that is dear at first and then free overtakes it in the last step."""
    model = TableModel()
    config = DecodeConfig(beam_size=3, max_length=9, max_ratio=None, stopping=Stopping.safe, **penalty)
    score = length_score(torch.tensor(-2.2, dtype=torch.float64), torch.tensor([8, 9, 10]), config)
    wanted = (score[1] + score[2]).item() / 2
    # log P of the empty sentence that has this score, |Y| = 1
    empty = wanted - config.length_alpha if config.length_penalty is LengthPenalty.reward else wanted
    model.table[1] = -60.0
    model.table[1, ..., 4] = 0.0
    model.table[1, 0, 4], model.table[1, 0, EOS] = -2.2, empty
    model.table[1, 0, PAD] = math.log1p(-math.exp(empty) - math.exp(-2.2))
    model.table[1, model.node([4] * 9)] = torch.tensor([-60.0, -60, -60, 0, -60, -60, -60])
    ((best,),) = run(model, [[1, 4]], config)
    assert best.ids == [4] * 9


@pytest.mark.parametrize("groups", [2, 3, 6])
def test_diverse_groups_are_the_slow_search(groups):
    """Groups too; the first of them is an ordinary beam of its size, and a strong penalty separates the others."""
    model = TableModel(seed=5)
    config = DecodeConfig(beam_size=6, n_best=2, groups=groups, diversity=1.3, max_ratio=1.0)
    for source, hypotheses in zip(SOURCES, run(model, SOURCES, config), strict=True):
        slow = reference_beam(model, source, config)
        assert [tuple(h.ids) for h in hypotheses] == [ids for ids, _ in slow]
        assert [h.score for h in hypotheses] == pytest.approx([score for _, score in slow], abs=1e-10)
    first = DecodeConfig(beam_size=6 // groups, max_ratio=1.0)
    for alone, hypotheses in zip(run(model, SOURCES, first), run(model, SOURCES, config), strict=True):
        assert hypotheses[0].score >= alone[0].score - 1e-12


CONFIGS = [
    DecodeConfig(beam_size=4, n_best=3, max_ratio=2.0, max_extra=0),
    DecodeConfig(beam_size=4, n_best=3, stopping=Stopping.safe, length_penalty=LengthPenalty.gnmt, coverage=0.2),
    DecodeConfig(beam_size=6, n_best=2, groups=3, no_repeat_ngram=2, min_ratio=0.8),
    DecodeConfig(beam_size=1),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_batch_is_one_by_one(config):
    """Tokens, scores and maps do not depend on the rest of the batch, and sentences that leave it disturb nobody."""
    model = TableModel(seed=1, end=-1.0)
    prefixes = [[], [4], [5, 5], [], [6, 4, 4], [], [4]]
    together = run(model, SOURCES, config, True, prefixes=prefixes)
    for source, prefix, expected in zip(SOURCES, prefixes, together, strict=True):
        (alone,) = run(model, [source], config, True, prefixes=[prefix])
        assert_same([alone], [expected])
        for a, b in zip(alone, expected, strict=True):
            assert maps_of(a)[0].shape == (2, 3, len(a.ids) + 1, len(source))
            assert all(map(torch.equal, maps_of(a), maps_of(b)))


@pytest.mark.parametrize("config", CONFIGS)
def test_ended_hypotheses_never_change(config, monkeypatch):
    """Searching on with sentences that are done, and never looking whether anything ended, gives the same result."""
    model = TableModel(seed=1, end=1.0)
    expected = run(model, SOURCES, config)
    short = len(model.steps)
    monkeypatch.setattr("nmt.search.beam.survivors", lambda done, step: None)
    monkeypatch.setattr("nmt.search.beam.extend", lambda *args, skip_unended: extend(*args, skip_unended=False))
    monkeypatch.setattr("nmt.search.sampling.survivors", lambda done, step: None)
    assert_same(run(model, SOURCES, config), expected)
    assert len(model.steps) > 2 * short


@penalties
def test_n_best_does_not_change_the_best(penalty):
    """Asking for more only adds to the list, and nothing stands in it twice."""
    model = TableModel(seed=8)
    lists = [run(model, SOURCES, DecodeConfig(beam_size=6, n_best=n, **penalty)) for n in (1, 6)]
    for one, six in zip(*lists, strict=True):
        assert one[0].ids == six[0].ids
        assert len({tuple(h.ids) for h in six}) == len(six) == 6
        assert [h.score for h in six] == sorted((h.score for h in six), reverse=True)


@penalties
def test_greedy_is_a_beam_of_one(penalty):
    """The short way for greedy search and beam search with one hypothesis agree, and both take the likeliest token."""
    model = TableModel(seed=2)
    config = DecodeConfig(beam_size=1, max_ratio=1.0, **penalty)
    greedy = run(model, SOURCES, config)
    lengths = torch.tensor([len(s) for s in SOURCES])
    assert_same(greedy, beam_search(model, make_request(pad(SOURCES), lengths, config), config, False))
    for source, (hypothesis,) in zip(SOURCES, greedy, strict=True):
        for t in range(len(hypothesis.ids) + hypothesis.finished):
            p = model.next_log_probs(source, hypothesis.ids[:t])
            legal = max((EOS, 4, 5, 6), key=lambda w: p[w])
            assert legal == [*hypothesis.ids, EOS][t]


def test_memory_is_never_tiled_and_done_sentences_leave():
    """The first step has one hypothesis a sentence, later ones at most the beam, over ever fewer sentences."""
    model = TableModel(end=1.0)
    run(model, SOURCES * 4, DecodeConfig(beam_size=5))
    assert model.steps[0] == (28, 1)
    assert all(a[0] >= b[0] for a, b in zip(model.steps, model.steps[1:], strict=False))
    assert model.steps[-1][0] < 28
    assert max(k for _, k in model.steps) == 5


@pytest.mark.parametrize("source_eos", [False, True])
@pytest.mark.parametrize("config", CONFIGS)
def test_maps_follow_the_hypotheses(config, source_eos):
    """Row i of a hypothesis's maps is what the model attended to after its first i tokens."""
    model = TableModel(seed=4, source_eos=source_eos)
    for source, hypotheses in zip(SOURCES, run(model, SOURCES, config, want_maps=True), strict=True):
        for h in hypotheses:
            weights, centre = maps_of(h)
            assert h.maps is not None
            assert h.maps.half_width == 1
            assert weights.shape == (2, 3, len(h.ids) + 1, len(source) + source_eos)
            for t in range(len(h.ids) + 1):
                node = model.node(h.ids[:t])
                row = model.attention[source[0], node, ..., : len(source) + source_eos].softmax(-1)
                assert torch.allclose(weights[:, :, t], row.float())
                assert (centre[:, :, t] == node).all()


def test_model_that_is_not_finite_is_refused():
    """NaN probabilities give an error that names the sentence, not an empty or arbitrary translation."""
    one, all_of_them = TableModel(), TableModel()
    one.table[3] = float("nan")
    all_of_them.table[:] = float("nan")
    for config in (DecodeConfig(), DecodeConfig(beam_size=1)):
        with pytest.raises(UserError, match="sentence 3"):
            run(one, SOURCES, config)
        with pytest.raises(UserError, match="sentence 1"):
            run(all_of_them, SOURCES, config)


def test_special_tokens_are_never_produced():
    """Whatever their probability; UNK only where it is allowed."""
    model = TableModel()
    model.table[..., [PAD, UNK, BOS]] += 9.0
    for config in (DecodeConfig(beam_size=4, n_best=4), DecodeConfig(beam_size=1), DecodeConfig(beam_size=4, groups=2)):
        found = [i for hypotheses in run(model, SOURCES, config) for h in hypotheses for i in h.ids]
        assert found
        assert set(found) <= set(range(EOS + 1, V))
    allowed = run(model, SOURCES, DecodeConfig(beam_size=4, allow_unk=True))
    assert any(UNK in h.ids for hypotheses in allowed for h in hypotheses)
