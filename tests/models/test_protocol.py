"""What every model promises (nmt/models/seq2seq.py), for every configuration in tests/helpers/model_cases.py.

Teacher forcing of single sentences is what all else is compared with; that it follows the papers is shown by the tests
of each model.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from closeness import assert_close
from model_cases import NAMES, PAIRS, V, batch_of, build, case_of, config_of, models_without_cases
from torch import nn

from nmt.batch import BOS, PAD, Batch, collate
from nmt.errors import ConfigError
from nmt.models.attention import ATTENTIONS
from nmt.models.transformer.config import SELF_ATTENTIONS
from nmt.models.transformer.cross_config import CrossAttentions

UNUSED = V - 1  # the id of a word that no sentence has
MAPS = 1e-6  # maps are float32
everything = pytest.mark.parametrize("name", NAMES)


def test_every_model_has_cases():
    missing = models_without_cases()
    assert not missing, (
        f"no case for {', '.join(missing)}: add a row to ALWAYS and to CASES in tests/helpers/model_cases.py, "
        "so that the tests of the model protocol see this model"
    )


def test_every_mechanism_has_a_case():
    """As above, for the rows of ATTENTIONS, SELF_ATTENTIONS and CrossAttentions."""
    seen = {key: set() for key in ("attention", "self_attention", "cross_attention")}
    for name in NAMES:
        config = config_of(name)
        for key, names in seen.items():
            names.add(getattr(getattr(config, key, None), "name", None))
    assert {c.name for c in ATTENTIONS} <= seen["attention"], "add a case to tests/helpers/model_cases.py"
    assert {c.name for c in SELF_ATTENTIONS} <= seen["self_attention"], "add a case to tests/helpers/model_cases.py"
    assert {c.name for c in CrossAttentions()} <= seen["cross_attention"], "add a case to tests/helpers/model_cases.py"


def gradients(model: nn.Module, loss: torch.Tensor) -> list[torch.Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters())))


def start(model: Any, batch: Batch, hypotheses: int = 1) -> Any:
    return model.start(model.encode(batch.source, batch.source_lengths, hypotheses))


def source_positions(model: Any, b: int) -> int:
    """How many positions of the source of PAIRS[b] attention sees."""
    return len(PAIRS[b][0]) + model.source_eos


@everything
def test_loss_is_the_sum_of_the_tokens(name):
    """Without smoothing; -log p is 0 at padding; maps are made on request and change nothing."""
    model, batch = build(name, label_smoothing=0.0), batch_of()
    output, mapped = model(batch), model(batch, want_maps=True)
    assert output.nll.shape == batch.target_out.shape
    assert not output.nll.requires_grad
    assert output.tokens.item() == sum(len(t) + 1 for _, t in PAIRS)
    assert_close(output.nll.sum(), output.loss_sum.detach())
    assert not output.nll[batch.target_out == PAD].any()
    assert output.maps is None
    assert torch.equal(mapped.nll, output.nll)
    assert model.target_size == V
    assert isinstance(model.source_eos, bool)


@everything
def test_every_parameter_learns(name):
    """As DistributedDataParallel needs it: a gradient for each, finite and not all zero."""
    model = build(name)
    model(batch_of()).loss_sum.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.any(), key


@everything
def test_every_parameter_has_a_gradient_of_the_shortest_batch(name):
    """One word and an empty translation: what has nothing to look at yet would have none."""
    model = build(name)
    model(batch_of([([4], [])])).loss_sum.backward()
    assert [key for key, parameter in model.named_parameters() if parameter.grad is None] == []


def enormous(_: nn.Module, ids: Any, vectors: torch.Tensor) -> torch.Tensor:
    """What a table of word vectors says, but for UNUSED."""
    return vectors.masked_fill((ids[0] == UNUSED)[..., None], 1e6)


@everything
def test_padding_is_invisible(name):
    """Five more columns of padding, of ids whose vectors are enormous, change no -log p, no gradient and no map."""
    model, batch = build(name), batch_of()
    for module in model.modules():
        if isinstance(module, nn.Embedding):  # of the ids below alone; the table itself may project to words, too
            module.register_forward_hook(enormous)
    wide = Batch(
        F.pad(batch.source, (0, 5), value=PAD),
        batch.source_lengths,
        F.pad(batch.target_in, (0, 5), value=PAD),
        F.pad(batch.target_out, (0, 5), value=PAD),
        batch.ids,
    )
    for ids in (wide.source, wide.target_in):
        ids[ids == PAD] = UNUSED
    expected, got = model(batch, want_maps=True), model(wide, want_maps=True)
    (B, T), S = batch.target_in.shape, batch.source.size(1) + model.source_eos
    assert_close(got.nll[:, :T], expected.nll)
    assert not got.nll[:, T:].any()
    assert_close(got.loss_sum, expected.loss_sum)
    for mine, theirs in zip(gradients(model, got.loss_sum), gradients(model, expected.loss_sum), strict=True):
        assert_close(mine, theirs)
    assert (got.maps is None) == (expected.maps is None)
    if got.maps is not None and expected.maps is not None:
        for b in range(B):
            length = len(PAIRS[b][1]) + 1
            assert_close(got.maps.weights[b, :, :, :length, :S], expected.maps.weights[b, :, :, :length], MAPS)
            assert not got.maps.weights[b, :, :, :length, S:].any()


@everything
def test_a_sentence_is_its_own(name):
    """Loss of each token and maps of a sentence alone are its rows in a batch; and so are the gradients, summed."""
    model = build(name)
    together = model(batch_of(), want_maps=True)
    total = [torch.zeros_like(p) for p in model.parameters()]
    for b, pair in enumerate(PAIRS):
        alone = model(batch_of([pair]), want_maps=True)
        T, S = len(pair[1]) + 1, source_positions(model, b)
        assert_close(alone.nll[0], together.nll[b, :T])
        total = [a + g for a, g in zip(total, gradients(model, alone.loss_sum), strict=True)]
        if alone.maps is not None:
            row = together.maps.of_sentence(b, T, S)
            assert_close(row.weights, alone.maps.weights[0], MAPS)
            assert (row.centre is None) == (alone.maps.centre is None)
            if row.centre is not None:
                assert_close(row.centre, alone.maps.centre[0], MAPS)
    for mine, theirs in zip(total, gradients(model, together.loss_sum), strict=True):
        assert_close(mine, theirs)


@everything
def test_maps_are_distributions_over_the_source(name):
    """(B, layers, heads, T, S) float32, 0 beyond each sentence; rows sum to 1, those of local_p's Gaussian to less."""
    model, batch = build(name), batch_of()
    maps = model(batch, want_maps=True).maps
    _, state, _ = model.step(torch.full((4, 1), BOS), start(model, batch))
    assert model.step(torch.full((4, 1), 5), state)[2] is None
    stepped = model.step(torch.full((4, 1), 5), state, want_maps=True)[2]
    assert (maps is None) == (stepped is None)
    if maps is None or stepped is None:
        return
    T, S = batch.target_in.size(1), batch.source.size(1) + model.source_eos
    layers, heads = maps.weights.shape[1:3]
    assert maps.weights.shape == (4, layers, heads, T, S)
    assert stepped.weights.shape == (4, layers, heads, 1, S)
    assert maps.weights.dtype == stepped.weights.dtype == torch.float32
    assert maps.weights.requires_grad  # guided alignment makes a loss of them
    assert (maps.half_width is None) == (maps.centre is None)
    for b in range(4):
        real = maps.weights[b, :, :, : len(PAIRS[b][1]) + 1]
        size = source_positions(model, b)
        assert (real >= 0).all()
        assert not real[..., size:].any()
        sums = real.sum(-1)
        if case_of(name).sums_to_one:
            torch.testing.assert_close(sums, torch.ones_like(sums))
        elif case_of(name).sums_to_one is None:
            assert sums.isfinite().all()
        else:
            assert ((sums > 0) & (sums < 1 + 1e-6)).all()
            assert (sums < 0.999).any()
        if maps.centre is not None:
            centre = maps.centre[b, :, :, : len(PAIRS[b][1]) + 1, None]
            far = (torch.arange(S) - centre.floor()).abs() > maps.half_width
            assert ((centre >= 0) & (centre <= size)).all()
            assert not real[far].any()


@everything
def test_self_attention_is_a_distribution(name):
    """Encoder (B, layers, heads, S, S), decoder (B, layers, heads, T, T) float32; the decoder sees no later word.

    Each row sums to 1 but for an LSTM's first word, which has nothing to look at, and for what a sink takes or is
    outside the sentence of a fixed Gaussian.
    """
    model, batch = build(name), batch_of()
    found = model.self_maps(batch)
    if found is None:
        return
    S, T = batch.source.size(1) + model.source_eos, batch.target_in.size(1)
    sizes = [(S, T), *((source_positions(model, b), len(target) + 1) for b, (_, target) in enumerate(PAIRS))]
    for weights, (size, *of_sentences) in zip(found, zip(*sizes, strict=True), strict=True):
        if weights is None:
            continue
        assert weights.shape == (4, *weights.shape[1:3], size, size)
        assert weights.dtype == torch.float32
        for b, own in enumerate(of_sentences):
            real = weights[b, :, :, :own]
            sums = real.sum(-1)
            nothing_before = name.startswith("lstm") & (real == 0).all(-1)
            assert nothing_before.sum() == name.startswith("lstm") * real[..., 0, 0].numel()
            if case_of(name).self_sums_to_one:
                torch.testing.assert_close(sums, 1.0 - nothing_before.float())
            assert (real >= 0).all()
            assert (sums < 1.02).all()  # a narrow density at whole numbers sums to a little more than 1
            assert not real[..., own:].any()
    assert found[1] is None or not found[1].triu(1).any()


@everything
def test_r_drop_and_cutoff_compare_neighbours(name):
    """loss(alpha, beta) - loss(0, 0) = alpha / 2 [KL(p || q) + KL(q || p)] + beta / 2 [KL(p || m) + KL(q || m)] of
    sentences 2b and 2b + 1, m the mean of p and q, at each real token."""
    model, alpha, beta = build(name), 3.0, 2.0
    targets = [PAIRS[0][1], PAIRS[0][1], PAIRS[2][1], PAIRS[2][1]]
    batch = batch_of([(source, target) for (source, _), target in zip(PAIRS, targets, strict=True)])
    if not model.label_smoothing:
        with pytest.raises(ConfigError, match=r"trainer\.r_drop and .* do not apply to model\.mixture=lexical"):
            model(batch, False, alpha)
        return
    plain, both = model(batch), model(batch, False, alpha, beta)
    assert_close(both.nll, plain.nll)
    with torch.no_grad():
        log_p = torch.stack([logits[:, 0].log_softmax(1) for logits, _ in forced(model, batch)], 1)
    p, q = log_p[::2], log_p[1::2]
    m = ((p.exp() + q.exp()) / 2).log()
    r_drop = ((p.exp() - q.exp()) * (p - q)).sum(2)
    cutoff = (p.exp() * (p - m) + q.exp() * (q - m)).sum(2)
    apart = (alpha / 2 * r_drop + beta / 2 * cutoff)[batch.target_out[::2] != PAD].sum()
    assert_close((both.loss_sum - plain.loss_sum).detach(), apart, atol=1e-9)


def forced(model: Any, batch: Batch) -> list[tuple[torch.Tensor, Any]]:
    """Logits (B, 1, V) and maps of each step along the target."""
    state, found = start(model, batch), []
    for t in range(batch.target_in.size(1)):
        logits, state, maps = model.step(batch.target_in[:, t : t + 1], state, want_maps=True)
        assert logits.shape == (len(batch.ids), 1, V)
        assert not logits.requires_grad
        found.append((logits, maps))
    return found


@everything
def test_steps_equal_teacher_forcing(name):
    """Search gives every token the probability that training gives it, and the same maps."""
    model, batch = build(name), batch_of()
    with torch.no_grad():
        expected = model(batch, want_maps=True)
        for t, (logits, maps) in enumerate(forced(model, batch)):
            log_p = logits[:, 0].log_softmax(1).gather(1, batch.target_out[:, t : t + 1])[:, 0]
            real = batch.target_out[:, t] != PAD
            assert_close(-log_p[real], expected.nll[real, t])
            assert (maps is None) == (expected.maps is None)
            if maps is not None:
                assert_close(maps.weights[real, :, :, 0], expected.maps.weights[real, :, :, t], MAPS)
                assert maps.half_width == expected.maps.half_width
            if maps is not None and maps.centre is not None:
                assert_close(maps.centre[real, :, :, 0], expected.maps.centre[real, :, :, t], MAPS)


class Claims:
    """What hypotheses were said to be worth, to be checked against teacher forcing of each alone, all at once."""

    def __init__(self) -> None:
        self.pairs: list[tuple[list[int], list[int]]] = []
        self.log_p: list[torch.Tensor] = []
        self.weights: list[torch.Tensor] = []

    def add(self, sentence: int, read: list[int], word: int, log_p: torch.Tensor, maps: Any, k: int) -> None:
        """``read`` from BOS on, ``word`` after it, the step's maps of the sentence."""
        self.pairs.append((PAIRS[sentence][0], [*read[1:], word]))
        self.log_p.append(log_p)
        if maps is not None:
            self.weights.append(maps[:, :, k])

    def check(self, model: Any) -> None:
        output = model(collate([s for s, _ in self.pairs], [t for _, t in self.pairs], []), want_maps=True)
        for n, (source, target) in enumerate(self.pairs):
            assert_close(-self.log_p[n], output.nll[n, len(target) - 1])
            if output.maps is not None:
                S = len(source) + model.source_eos
                assert_close(self.weights[n][..., :S], output.maps.weights[n, :, :, len(target) - 1, :S], MAPS)


@everything
def test_hypotheses_follow_their_parents(name):
    """Hypotheses reordered, doubled, widened and narrowed at every step, and sentences dropped on the way, go on as if
    each had been alone.  The encoding is made for 4 of them; for 1 in the other tests."""
    model, batch, generator = build(name), batch_of(), torch.Generator().manual_seed(3)
    claims = Claims()
    with torch.no_grad():
        state = start(model, batch, hypotheses=4)
        sentences, words = torch.arange(4), torch.full((4, 1, 1), BOS)  # (B, K, t): what each hypothesis has read
        for step, width in enumerate((4, 4, 5, 3, 1, 4)):
            logits, state, maps = model.step(words[:, :, -1], state, want_maps=True)
            B, K = words.shape[:2]
            assert logits.shape == (B, K, V)
            log_p = logits.log_softmax(2)
            parent = torch.randint(0, K, (B, width), generator=generator)
            if step in (2, 4):  # the first row goes, the others change places
                kept = torch.arange(B - 1, 0, -1)
                sentences, words, log_p, parent = sentences[kept], words[kept], log_p[kept], parent[kept]
                state = state.keep(kept)
                maps = None if maps is None else maps._replace(weights=maps.weights[kept])
            state = state.reorder(parent)
            new = torch.randint(4, V, parent.shape, generator=generator)
            for b in range(len(sentences)):
                for k, old in enumerate(parent[b].tolist()):
                    read, weights = words[b, old].tolist(), None if maps is None else maps.weights[b]
                    claims.add(int(sentences[b]), read, int(new[b, k]), log_p[b, old, new[b, k]], weights, old)
            words = words.gather(1, parent[..., None].expand(-1, -1, words.size(2)))
            words = torch.cat([words, new[..., None]], 2)
        claims.check(model)


@everything
def test_states_do_not_change(name):
    """Whatever is made of a state (steps, other orders, fewer sentences, steps of those), it remains what it was."""
    model, batch = build(name), batch_of()
    with torch.no_grad():
        first = start(model, batch)
        _, state, _ = model.step(torch.full((4, 1), BOS), first)
        state = state.reorder(torch.zeros(4, 2, dtype=torch.int64))
        words = torch.tensor([[5, 6], [6, 7], [7, 8], [8, 9]])
        expected, after, _ = model.step(words, state)
        then, _, _ = model.step(words, after)
        moved, fewer = state.reorder(torch.tensor([[1, 0, 1]] * 4)), state.keep(torch.tensor([3, 1]))
        _, moved, _ = model.step(torch.full((4, 3), 9), moved)
        model.step(torch.full((4, 3), 10), moved.reorder(torch.tensor([[2, 0, 0]] * 4)))
        other, _, _ = model.step(words + 2, state)
        assert not torch.allclose(other, expected)
        assert_close(model.step(words[[3, 1]], fewer)[0], expected[[3, 1]])
        assert_close(model.step(words, after)[0], then)
        assert_close(model.step(words, state)[0], expected)
        _, again, _ = model.step(torch.full((4, 1), BOS), first)
        assert_close(model.step(words, again.reorder(torch.zeros(4, 2, dtype=torch.int64)))[0], expected)
