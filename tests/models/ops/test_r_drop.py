"""R-Drop and cutoff: the divergences of two passes against autograd of the whole softmax, and through the model."""

import pytest
import torch
import torch.nn.functional as F
from lstm_cases import V_SOURCE, V_TARGET, batch_of, build

from nmt.batch import PAD
from nmt.models import TransformerConfig, build_model
from nmt.models.ops import cross_entropy as loss
from nmt.models.ops.cross_entropy import projected_cross_entropy
from nmt.models.ops.r_drop import divergence, jensen_shannon
from nmt.models.transformer.config import GlobalSelfAttentionConfig

PAIRS, H, V, ALPHA, BETA = 9, 5, 11, 3.0, 0.7


def symmetric_kl(logits):
    """[KL(p || q) + KL(q || p)] / 2 of each pair of rows, by torch's own kl_div over all logits."""
    p, q = F.log_softmax(logits, 1).unflatten(0, (-1, 2)).unbind(1)
    kl = [F.kl_div(a, b, reduction="none", log_target=True).sum(1) for a, b in ((p, q), (q, p))]
    return (kl[0] + kl[1]) / 2


def to_the_mean(logits):
    """[KL(p || m) + KL(q || m)] / 2 of each pair of rows, m their mean."""
    p, q = logits.softmax(1).unflatten(0, (-1, 2)).unbind(1)
    return sum((x * (x / ((p + q) / 2)).log()).sum(1) for x in (p, q)) / 2


@pytest.mark.parametrize(("of", "oracle"), [(divergence, symmetric_kl), (jensen_shannon, to_the_mean)])
def test_divergence_and_its_gradient(of, oracle):
    torch.manual_seed(0)
    logits = torch.randn(2 * PAIRS, V, dtype=torch.float64, requires_grad=True)
    expected = oracle(logits)
    share, gradient = of(logits.softmax(1).detach(), logits.log_softmax(1).detach())
    torch.testing.assert_close(share.view(-1, 2).sum(1), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), logits)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("of", [divergence, jensen_shannon])
def test_equal_rows_diverge_by_exactly_nothing(of):
    p = torch.randn(PAIRS, V).softmax(1).repeat_interleave(2, 0)
    share, gradient = of(p, p.log())
    assert share.count_nonzero() == 0
    assert gradient.abs().max() < 1e-7  # p 1 - q, once rounded


def test_words_of_no_probability_are_no_trouble():
    """Of both rows, or of one: p underflows to 0, and log p does not."""
    log_p = torch.tensor([[0.0, -200.0, -200.0], [-200.0, 0.0, -200.0]]).log_softmax(1)
    share, gradient = jensen_shannon(log_p.exp(), log_p)
    torch.testing.assert_close(share.sum(), torch.tensor(2.0).log())
    assert gradient.isfinite().all()


def paired(rows: torch.Tensor) -> torch.Tensor:
    """Rows of which 2n and 2n + 1 are passes of one token, as two sentences of PAIRS positions: (2, PAIRS, ...)."""
    return rows.unflatten(0, (PAIRS, 2)).transpose(0, 1)


def test_an_odd_number_of_sentences_is_refused():
    with pytest.raises(ValueError, match="two by two, got 3"):
        projected_cross_entropy(torch.randn(3, 2, H), torch.ones(3, 2).long(), torch.randn(V, H), None, 0.0, ALPHA)


@pytest.mark.parametrize("rows", [1, 4, 100], ids=["a pair", "two pairs", "one chunk"])
@pytest.mark.parametrize("eps", [0.0, 0.1])
@pytest.mark.parametrize(
    ("alpha", "beta"), [(ALPHA, 0.0), (0.0, BETA), (ALPHA, BETA)], ids=["R-Drop", "cutoff", "both"]
)
@pytest.mark.parametrize("everywhere", [False, True], ids=["padding left out", "padding in the chunks"])
def test_the_loss_is_cross_entropy_of_both_passes_plus_their_divergence(
    rows, eps, alpha, beta, everywhere, monkeypatch
):
    """Values and all gradients in float64, whatever the chunk and whichever way padding goes."""
    monkeypatch.setattr(loss, "CHUNK_LOGITS", rows * V)
    monkeypatch.setattr(loss, "CACHED_LOGITS", 2 * V)
    torch.manual_seed(0)
    leaves = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((2 * PAIRS, H), (V, H), (V,))]
    target = torch.randint(1, V, (PAIRS,)).index_fill(0, torch.tensor([0, 4]), PAD).repeat_interleave(2)
    logits, real = F.linear(*leaves), (target != PAD)[::2]
    whole = F.cross_entropy(logits, target, ignore_index=PAD, reduction="sum", label_smoothing=eps)
    whole = whole + (alpha * symmetric_kl(logits) + beta * to_the_mean(logits))[real].sum()
    hidden, weight, bias = leaves
    if everywhere:
        got, nll = loss._ProjectedCrossEntropy.apply(
            hidden, target, weight, bias, eps, loss.TwoPasses(alpha, beta), True
        )
    else:  # (2B, T): both passes of a sentence one below the other
        got, nll = projected_cross_entropy(paired(hidden), paired(target), weight, bias, eps, alpha, beta)
        nll = nll.t().flatten()
    torch.testing.assert_close(got, whole, rtol=1e-12, atol=0)
    torch.testing.assert_close(nll, F.cross_entropy(logits, target, ignore_index=PAD, reduction="none").detach())
    for mine, theirs in zip(torch.autograd.grad(got, leaves), torch.autograd.grad(whole, leaves), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_nothing_as_large_as_the_logits_is_kept(monkeypatch):
    monkeypatch.setattr(loss, "CHUNK_LOGITS", 2 * V)
    kept = []
    hidden, weight = torch.randn(2 * PAIRS, H, requires_grad=True), torch.randn(V, H, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda x: x):
        projected_cross_entropy(hidden[:, None], torch.full((2 * PAIRS, 1), 3), weight, None, 0.1, ALPHA)
    assert max(kept) < 2 * PAIRS * V


def transformer():
    torch.manual_seed(0)
    config = TransformerConfig(
        hidden_size=8, ffn_size=8, heads=2, num_layers=1, dropout=0.0, self_attention=GlobalSelfAttentionConfig()
    )
    return build_model(config, V_SOURCE, V_TARGET, joint=False, label_smoothing=0.1).double()


@pytest.mark.parametrize("name", ["global", "local_p unfed", "transformer"])
def test_without_dropout_a_model_has_nothing_to_agree_on(name):
    """Twice the loss and twice the gradient, and no more: rows of different tokens would diverge."""
    model, batch = (transformer() if name == "transformer" else build(name)).train(), batch_of()
    once = model(batch)
    twice = model(batch.doubled(), r_drop=ALPHA)
    torch.testing.assert_close(twice.loss_sum, 2 * once.loss_sum, rtol=1e-12, atol=0)
    torch.testing.assert_close(twice.nll, once.nll.repeat_interleave(2, 0))
    a, b = (torch.autograd.grad(x.loss_sum, list(model.parameters())) for x in (once, twice))
    for mine, theirs in zip(b, a, strict=True):
        torch.testing.assert_close(mine, 2 * theirs, rtol=1e-9, atol=1e-9)


def test_with_dropout_the_passes_of_a_sentence_are_compared_with_each_other():
    """The loss of a doubled batch differs from its cross-entropy by alpha times the divergence, in the same order."""
    model, batch = build("global", dropout=0.5).train(), batch_of().doubled()
    outputs = []
    for alpha in (0.0, 1.0, ALPHA):
        torch.manual_seed(5)
        outputs.append(model(batch, r_drop=alpha))
    apart = outputs[1].loss_sum - outputs[0].loss_sum
    torch.testing.assert_close(outputs[2].loss_sum - outputs[0].loss_sum, ALPHA * apart)
    log_p = model_log_p(model, batch)
    direct = symmetric_kl(log_p.flatten(0, 1))[(batch.target_out.t().flatten() != PAD)[::2]].sum()
    torch.testing.assert_close(apart, direct, rtol=1e-9, atol=0)


def model_log_p(model, batch):
    """(T, B, V), by the decoder's states and a projection of its own, with the dropout of the test above."""
    torch.manual_seed(5)
    encoded = model.encode(batch.source, batch.source_lengths)
    words = model.embed(model.target_embedding, batch.target_in.t())
    vectors, _ = model.decoder(words, encoded.start, encoded.memory, False)
    return model.projection(vectors).log_softmax(-1)


def test_a_doubled_batch_has_each_sentence_twice_side_by_side():
    batch = batch_of()
    links = torch.tensor([[0, 1, 2], [2, 0, 0], [2, 1, 0]])
    twice = type(batch)(**{**vars(batch), "links": links}).doubled()
    for name in ("source", "source_lengths", "target_in", "target_out", "ids"):
        assert torch.equal(getattr(twice, name)[::2], getattr(batch, name))
        assert torch.equal(getattr(twice, name)[1::2], getattr(batch, name))
    assert twice.links is not None
    for copy in (0, 1):
        mine = sorted(((b - copy) // 2, t, s) for b, t, s in twice.links.tolist() if b % 2 == copy)
        assert mine == [tuple(link) for link in links.tolist()]
