"""Batches: every pair once an epoch, in an order of seed and epoch alone, within the budget, from any position."""

import threading
from itertools import chain, islice

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.batch import BOS, EOS, PAD
from nmt.data.batching import BatchingConfig, TrainBatches, plan_epoch, split_by_budget
from nmt.data.encode import EncodedCorpus, SampledCorpus
from nmt.data.tokenizer import TokenizerConfig, TokenizerKind, train_tokenizers
from nmt.errors import ConfigError, DataError, RunError


def random_corpus(pairs=300, longest=20, seed=0):
    rng = np.random.default_rng(seed)
    sides = [[rng.integers(4, 50, n).tolist() for n in rng.integers(1, longest + 1, pairs)] for _ in range(2)]
    return EncodedCorpus.of(*sides), *sides


def of_lengths(lengths):
    """A corpus whose ids nobody reads."""
    return EncodedCorpus(Dataset.from_dict({}), lengths)


def epoch_of(batches, epoch=0):
    """The batches of the next epoch, as lists of pairs."""
    taken = []
    iterator = iter(batches)
    while batches.epoch == epoch:
        taken.append(next(iterator).ids.tolist())
    iterator.close()
    return taken


def same(a, b):
    pairs = list(zip(vars(a).values(), vars(b).values(), strict=True))
    return all(x is y if x is None else x.equal(y) for x, y in pairs)


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), min_size=1, max_size=80),
    tokens=st.integers(1, 300),
    sentences=st.none() | st.integers(1, 9),
    epoch=st.integers(0, 3),
)
def test_plan_holds_every_pair_once_within_the_budget(lengths, tokens, sentences, epoch):
    """Batches part the corpus; each is within the budget or a single pair, or has the number of sentences asked for."""
    table = np.array(lengths, dtype=np.int32).T
    plan = plan_epoch(of_lengths(table), BatchingConfig(tokens=tokens, sentences=sentences), 1, epoch)
    parts = [plan.pairs(b) for b in range(len(plan))]
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(lengths)))
    for part in parts:
        if sentences is None:
            padded = len(part) * max(table[0, part].max(), table[1, part].max() + 1)
            assert padded <= tokens or len(part) == 1
    if sentences is not None:
        assert sorted(map(len, parts))[1:] == [sentences] * (len(parts) - 1)


@settings(max_examples=100, deadline=None)
@given(rows=st.lists(st.integers(1, 30), min_size=1, max_size=60), tokens=st.integers(1, 100))
def test_cut_takes_as_many_as_fit(rows, tokens):
    """The slow way: add rows to a part while number * longest stays within the budget."""
    bounds, start = [0], 0
    for i in range(1, len(rows)):
        if (i + 1 - start) * max(rows[start : i + 1]) > tokens:
            bounds.append(start := i)
    assert split_by_budget(np.array(rows, dtype=np.int32), tokens).tolist() == [*bounds, len(rows)]


def test_batches_hold_the_text_of_their_pairs():
    """Rows are the ids of the pairs named, padded at the end only; targets begin with BOS and end with EOS."""
    corpus, sources, targets = random_corpus()
    for batch in islice(TrainBatches(corpus, BatchingConfig(tokens=200), seed=1), 20):
        for row, pair in enumerate(batch.ids.tolist()):
            source, target = sources[pair], targets[pair]
            padding = [PAD] * batch.source.size(1)
            assert batch.source[row].tolist() == (source + padding)[: batch.source.size(1)]
            assert batch.source_lengths[row] == len(source)
            padding = [PAD] * batch.target_in.size(1)
            assert batch.target_in[row].tolist() == [BOS, *target, *padding][: len(padding)]
            assert batch.target_out[row].tolist() == [*target, EOS, *padding][: len(padding)]


def test_order_depends_on_seed_and_epoch():
    """Equal seeds give equal orders; another seed or epoch mixes other sentences."""
    corpus, *_ = random_corpus()
    config = BatchingConfig(tokens=200)
    a, b, c = (TrainBatches(corpus, config, seed) for seed in (1, 1, 2))
    first = epoch_of(a)
    assert first == epoch_of(b)
    assert sorted(chain.from_iterable(first)) == list(range(len(corpus)))
    other, second = epoch_of(c), epoch_of(a, epoch=1)
    for order in (other, second):
        assert sorted(chain.from_iterable(order)) == list(range(len(corpus)))
        assert {frozenset(x) for x in order} != {frozenset(x) for x in first}
        assert order != first


def check_resumed(corpus, taken):
    config = BatchingConfig(tokens=200)
    whole = list(islice(TrainBatches(corpus, config, seed=3), taken + 5))
    first = TrainBatches(corpus, config, seed=3)
    iterator = iter(first)
    for _ in range(taken):
        next(iterator)
    state, progress = first.state_dict(), first.progress
    iterator.close()
    again = TrainBatches(corpus, config, seed=3)
    again.load_state_dict(state)
    assert again.progress == progress
    assert all(same(a, b) for a, b in zip(islice(again, 5), whole[taken:], strict=True))


def test_other_training_text_of_as_many_pairs_is_refused():
    """Where both digests are known; a run of an earlier version has none."""
    corpora = [EncodedCorpus.of([[4], [5]], [[6], [7]]) for _ in range(2)]
    for corpus, text in zip(corpora, ("one", "other"), strict=True):
        corpus.text_digest = text
    before, after = (TrainBatches(corpus, BatchingConfig(sentences=1), seed=1) for corpus in corpora)
    with pytest.raises(RunError, match="the training text has changed since"):
        after.load_state_dict(before.state_dict())
    older = {key: value for key, value in before.state_dict().items() if key != "training text"}
    after.load_state_dict(older)
    before.load_state_dict(before.state_dict())


@pytest.mark.parametrize("taken", [0, 1, 7, 29, 30, 31, 32, 60])
def test_resumed_is_uninterrupted(taken):
    """A position saved after some batches, however many the thread has made by then, goes on with the next one."""
    check_resumed(random_corpus()[0], taken)


@pytest.mark.parametrize("taken", [0, 7, 60])
def test_resumed_is_uninterrupted_with_subword_regularization(taken, tokenizers, tmp_path):
    check_resumed(text_corpus(tokenizers, tmp_path), taken)


def test_a_second_iterator_goes_on():
    """Closing an iterator loses nothing that it had made in advance."""
    corpus, *_ = random_corpus()
    batches, config = TrainBatches(corpus, BatchingConfig(tokens=200), seed=1), BatchingConfig(tokens=200)
    parts = [b for _ in range(3) for b in islice(batches, 3)]
    assert all(same(a, b) for a, b in zip(parts, islice(TrainBatches(corpus, config, 1), 9), strict=True))


def test_another_order_is_refused():
    corpus, *_ = random_corpus()
    state = TrainBatches(corpus, BatchingConfig(tokens=200), seed=1).state_dict()
    with pytest.raises(RunError, match=r"data\.batching\.tokens was 200 and is 300"):
        TrainBatches(corpus, BatchingConfig(tokens=300), seed=1).load_state_dict(state)
    with pytest.raises(RunError, match="seed was 1 and is 2"):
        TrainBatches(corpus, BatchingConfig(tokens=200), seed=2).load_state_dict(state)


@pytest.mark.parametrize("world", [2, 3, 7])
def test_processes_share_an_epoch(world):
    """Together they see every pair, each takes as many batches, and only the last round may repeat some."""
    corpus, *_ = random_corpus()
    config = BatchingConfig(tokens=200)
    alone = epoch_of(TrainBatches(corpus, config, seed=1))
    ranks = [TrainBatches(corpus, config, 1, rank, world) for rank in range(world)]
    shares = [epoch_of(b) for b in ranks]
    assert {len(share) for share in shares} == {-(-len(alone) // world)}
    together = [batch for step in zip(*shares, strict=True) for batch in step]
    assert together[: len(alone)] == alone
    assert together[len(alone) :] == alone[: len(together) - len(alone)]


def test_more_processes_than_batches():
    """A corpus of one batch still gives every process its step."""
    corpus, *_ = random_corpus(pairs=3)
    for rank in range(4):
        batches = TrainBatches(corpus, BatchingConfig(tokens=1000), 1, rank, 4)
        assert [b.ids.numel() for b in islice(batches, 3)] == [3, 3, 3]
        assert batches.epoch == 3


def test_position_serves_any_number_of_processes():
    """What two processes left half-done, one takes up where they stopped."""
    corpus, *_ = random_corpus()
    config = BatchingConfig(tokens=200)
    two = TrainBatches(corpus, config, 1, rank=1, world_size=2)
    list(islice(two, 3))
    one = TrainBatches(corpus, config, 1)
    one.load_state_dict(two.state_dict())
    expected = list(islice(TrainBatches(corpus, config, 1), 7))[6]
    assert same(next(iter(one)), expected)


def test_the_order_does_not_depend_on_how_many_processes_resumed(tokenizers, tmp_path):
    """Two, then one, then three, with random segmentations: the batches of one process, each once and in its order."""
    config = BatchingConfig(tokens=200)
    alone = TrainBatches(text_corpus(tokenizers, tmp_path), config, seed=1)
    seen, state, first = [], alone.state_dict(), alone.batches_per_epoch
    expected = list(islice(alone, first + 6))
    for processes, rounds in ((2, 4), (1, 5), (3, -((13 - first) // 3)), (2, 3)):
        ranks = [
            TrainBatches(text_corpus(tokenizers, tmp_path), config, 1, rank, processes) for rank in range(processes)
        ]
        for batches in ranks:
            batches.load_state_dict(state)
        shares = [list(islice(batches, rounds)) for batches in ranks]
        seen += [batch for each in zip(*shares, strict=True) for batch in each]
        assert all(batches.state_dict() == ranks[0].state_dict() for batches in ranks)
        state = ranks[0].state_dict()
    assert (state["epoch"], state["batch"]) == (1, 6)
    assert all(map(same, seen[:first], expected[:first]))
    assert all(map(same, seen[-6:], expected[first:]))
    repeated = seen[first:-6]
    assert len(repeated) < 3
    assert all(map(same, repeated, expected))


def test_progress_counts_epochs():
    corpus, *_ = random_corpus()
    batches = TrainBatches(corpus, BatchingConfig(tokens=200), seed=1)
    number = batches.batches_per_epoch
    seen = []
    for _ in islice(batches, number):
        seen.append(batches.progress)
    assert seen == pytest.approx([(i + 1) / number for i in range(number)])
    assert batches.epoch == 1


@pytest.mark.parametrize(
    "config", [BatchingConfig(tokens=100), BatchingConfig(sentences=7)], ids=["tokens", "sentences"]
)
def test_padding_is_that_of_the_tensors(config):
    corpus = random_corpus()[0]
    batches = TrainBatches(corpus, config, seed=3)
    made = [batches._plan(0).batch(number) for number in range(batches.batches_per_epoch)]
    tensors = [side for batch in made for side in (batch.source, batch.target_out)]
    share = sum((side == PAD).sum().item() for side in tensors) / sum(side.numel() for side in tensors)
    again = TrainBatches(corpus, config, seed=3)
    assert again.padding() == pytest.approx(share, abs=1e-12)
    assert str(again).endswith(f"{share:.1%} of their ids are padding")
    assert again.state_dict()["batch"] == 0  # asking moves nothing


def test_longest_has_nearly_the_most_padding():
    """No batch of the epoch has over a ninth more padded ids; a single pair beyond the budget is found."""
    corpus, *_ = random_corpus()
    batches = TrainBatches(corpus, BatchingConfig(tokens=200), seed=1)
    padded = [b.source.numel() + b.target_in.numel() for b in islice(batches, batches.batches_per_epoch)]
    longest = TrainBatches(corpus, BatchingConfig(tokens=200), seed=1).longest()
    assert longest.source.numel() + longest.target_in.numel() >= 0.9 * max(padded)
    giant = EncodedCorpus.of([[5], [5] * 500, [6] * 3], [[5], [5] * 500, [6] * 3])
    assert TrainBatches(giant, BatchingConfig(tokens=100), 1).longest().ids.tolist() == [1]


def test_longest_does_not_move_the_position():
    corpus, *_ = random_corpus()
    batches = TrainBatches(corpus, BatchingConfig(tokens=200), seed=1)
    batches.longest()
    assert same(next(iter(batches)), next(iter(TrainBatches(corpus, BatchingConfig(tokens=200), seed=1))))


def batch_threads():
    return [t for t in threading.enumerate() if t.name == "batches"]


def test_thread_ends_with_its_iterator():
    corpus, *_ = random_corpus()
    iterator = iter(TrainBatches(corpus, BatchingConfig(tokens=200), seed=1))
    next(iterator)
    assert len(batch_threads()) == 1
    iterator.close()
    assert not batch_threads()
    next(iter(TrainBatches(corpus, BatchingConfig(tokens=200), seed=1)))  # forgotten at once
    assert not batch_threads()


def test_errors_in_the_thread_come_out(monkeypatch):
    corpus, *_ = random_corpus()

    def broken(*_):
        raise OSError("the disk is gone")

    monkeypatch.setattr(corpus, "read", broken)
    with pytest.raises(OSError, match="the disk is gone"):
        next(iter(TrainBatches(corpus, BatchingConfig(tokens=200), seed=1)))
    assert not batch_threads()


TEXTS = [f"the {a} dog sees {n} {b}" for a in ("old", "young") for b in ("cats", "hills") for n in range(60)]


@pytest.fixture(scope="module")
def tokenizers():
    return train_tokenizers(TokenizerConfig(kind=TokenizerKind.bpe, vocab_size=320), TEXTS, TEXTS, seed=1)


def text_corpus(tokenizers, folder, sampling=0.2):
    text = Dataset.from_dict({"source": TEXTS, "target": TEXTS})
    rows = tokenizers.source.encode(TEXTS)
    return SampledCorpus(EncodedCorpus.of(rows, rows), text, tokenizers, folder, sampling)


def test_subword_regularization(tokenizers, tmp_path):
    """Drawn segmentations spell the same text, differ between epochs and sides, and stay within the budget."""
    tokenizer = tokenizers.source
    batches = TrainBatches(text_corpus(tokenizers, tmp_path), BatchingConfig(tokens=200), seed=1)
    seen, count = {}, 0
    for batch in batches:
        assert batch.source.size(0) * max(batch.source.size(1), batch.target_in.size(1)) <= 200
        sources, targets = tokenizer.decode(batch.source.tolist()), tokenizer.decode(batch.target_out.tolist())
        assert sources == targets == [TEXTS[pair] for pair in batch.ids.tolist()]
        for pair, source, target in zip(batch.ids.tolist(), batch.source, batch.target_out, strict=True):
            cuts = seen.setdefault(pair, set())
            cuts |= {tuple(tokenizer.pieces([i for i in row.tolist() if i > EOS])) for row in (source, target)}
        count += len(batch.ids)
        if batches.epoch == 2:
            break
    assert count == 2 * len(TEXTS)
    assert np.mean([len(cuts) for cuts in seen.values()]) > 2


def test_drawn_files_do_not_pile_up(tokenizers, tmp_path):
    """Nothing is left in the folder, and what was drawn can still be read."""
    drawn = text_corpus(tokenizers, tmp_path).resegmented(seed=5)
    assert list(tmp_path.iterdir()) == []
    sources, targets = drawn.read(np.arange(len(TEXTS)))
    assert tokenizers.source.decode(sources) == TEXTS
    assert drawn.lengths.tolist() == [[len(row) for row in rows] for rows in (sources, targets)]


def test_what_is_drawn_depends_on_seed_and_epoch_alone(tokenizers, tmp_path):
    """Another corpus object, whatever was drawn before, in this process or by the other side."""

    def pieces(seed, epoch):
        corpus = text_corpus(tokenizers, tmp_path)
        corpus.resegmented(99)
        drawn = plan_epoch(corpus, BatchingConfig(tokens=200), seed, epoch).corpus
        return drawn.read(np.arange(len(TEXTS)))

    first = pieces(1, 0)
    assert first == pieces(1, 0)
    others = [*pieces(1, 1), *pieces(2, 0)]
    for other in (*others, first[1]):
        assert np.mean([a != b for a, b in zip(first[0], other, strict=True)]) > 0.5


@pytest.mark.parametrize(("tokens", "real_share"), [(4096, 0.93), (16000, 0.89)])
def test_little_padding_on_ordinary_lengths(tokens, real_share):
    """Most ids are real where lengths vary as those of captions do (in a random order under half are)."""
    rng = np.random.default_rng(0)
    target = rng.gamma(6, 2.5, 20000).astype(np.int32) + 3
    source = np.maximum(3, target + rng.normal(0, 2, 20000).astype(np.int32))
    lengths = np.stack([source, target])
    plan = plan_epoch(of_lengths(lengths), BatchingConfig(tokens=tokens), 1, 0)
    parts = [lengths[:, plan.pairs(b)] for b in range(len(plan))]
    real = sum(p.sum() + p.shape[1] for p in parts)
    padded = sum(p.shape[1] * (p[0].max() + p[1].max() + 1) for p in parts)
    assert real / padded > real_share


@pytest.mark.parametrize("changes", [{"tokens": 0}, {"sentences": 0}], ids=str)
def test_impossible_config(changes):
    with pytest.raises(ConfigError, match=rf"data\.batching\.{next(iter(changes))} must be at least 1, got 0"):
        BatchingConfig(**changes)


def test_no_pairs():
    with pytest.raises(DataError):
        TrainBatches(EncodedCorpus.of([], []), BatchingConfig(), seed=1)
