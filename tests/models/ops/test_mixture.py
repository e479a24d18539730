"""The chunked loss of a mixture of predictions against the whole mixture with every logit in memory, and by loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from nmt.batch import PAD
from nmt.models.ops import mixture
from nmt.models.ops.cross_entropy import TwoPasses
from nmt.models.ops.mixture import MixtureOptions, mixed_log_probs, mixture_cross_entropy

B, T, S, K, H, V = 4, 6, 7, 3, 5, 11


@pytest.fixture
def tensors():
    """query, source, scores of the weights, weight, bias; positions and target, some of it padding."""
    torch.manual_seed(0)
    shapes = (B, T, H), (B, S, H), (B, T, K), (V, H), (V,)
    leaves = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    positions = torch.stack([torch.randperm(S)[:K] for _ in range(B * T)]).view(B, T, K)
    target = torch.randint(1, V, (B, T))
    target[[0, 1, 3], [5, 5, 0]] = PAD
    return leaves, positions, target


def of_scores(leaves, positions, target, eps=0.0, alpha=0.0):
    """The kernel, with the weights as an attention mechanism makes them."""
    query, source, scores, weight, bias = leaves
    weights = scores.softmax(-1)
    options = MixtureOptions(eps, TwoPasses(alpha))
    return mixture_cross_entropy(query, source, positions, weights, target, weight, bias, options)


def log_mixture(leaves, positions):
    """log p (B, T, V), and log a_k p(v | k) (B, T, K, V)."""
    query, source, scores, weight, bias = leaves
    rows = source[torch.arange(B)[:, None, None], positions]
    log_p = F.linear((query[:, :, None] + rows).tanh(), weight, bias).log_softmax(-1)
    joint = log_p + scores.log_softmax(-1)[..., None]
    return joint.logsumexp(2), joint


def oracle(leaves, positions, target, eps=0.0, alpha=0.0):
    """Summed loss, -log p of each token, and the posterior."""
    log_p, joint = log_mixture(leaves, positions)
    nll = F.nll_loss(log_p.flatten(0, 1), target.flatten(), ignore_index=PAD, reduction="none").view(B, T)
    real = (target != PAD).double()
    loss_sum = (1 - eps) * nll.sum() - eps * (log_p.mean(2) * real).sum()
    if alpha:
        p, q = log_p[::2], log_p[1::2]
        apart = ((p.exp() - q.exp()) * (p - q)).sum(2)
        loss_sum = loss_sum + alpha / 2 * (apart * real[::2]).sum()
    of_word = joint.gather(3, target[..., None, None].expand(B, T, K, 1)).squeeze(3)
    return loss_sum, nll, of_word.softmax(2) * real[..., None]


def gradients(loss_sum, leaves):
    return torch.autograd.grad(loss_sum / 7, leaves)


def near(mine, theirs):
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [2, 4, 100], ids=["chunks of 2", "chunks of 4", "one chunk"])
@pytest.mark.parametrize(("eps", "alpha"), [(0.0, 0.0), (0.1, 0.0), (0.1, 3.0)])
def test_equals_the_mixture_of_all_logits(tensors, rows, eps, alpha, monkeypatch):
    """Values and every gradient, whatever the chunk, with label smoothing and R-Drop, scaled from above."""
    monkeypatch.setattr(mixture, "CHUNK_LOGITS", rows * K * V)
    monkeypatch.setattr(mixture, "CACHED_LOGITS", 2 * K * V)
    leaves, positions, target = tensors
    if alpha:
        target[1::2] = target[::2].clone()
    expected, nll, posterior = oracle(leaves, positions, target, eps, alpha)
    got = of_scores(leaves, positions, target, eps, alpha)
    torch.testing.assert_close(got.loss_sum, expected, rtol=1e-12, atol=0)
    near(got.nll, nll.detach())
    near(got.posterior, posterior.detach())
    assert not got.nll.requires_grad
    assert not got.posterior.requires_grad
    for mine, theirs in zip(gradients(got.loss_sum, leaves), gradients(expected, leaves), strict=True):
        near(mine, theirs)


def test_equals_loops_over_scalars(tensors):
    """p(y) and the posterior, one position and one word at a time."""
    leaves, positions, target = tensors
    query, source, scores, weight, bias = (x.detach().tolist() for x in leaves)
    got = of_scores(leaves, positions, target)
    for b in range(B):
        for t in range(T):
            if target[b, t] == PAD:
                assert got.nll[b, t] == 0
                assert not got.posterior[b, t].any()
                continue
            total = math.fsum(math.exp(x) for x in scores[b][t])
            terms = []
            for k, s in enumerate(positions[b, t].tolist()):
                v = [math.tanh(query[b][t][h] + source[b][s][h]) for h in range(H)]
                p = [math.exp(math.fsum(w * x for w, x in zip(weight[u], v, strict=True)) + bias[u]) for u in range(V)]
                terms.append(math.exp(scores[b][t][k]) / total * p[target[b, t]] / math.fsum(p))
            assert got.nll[b, t].item() == pytest.approx(-math.log(math.fsum(terms)), rel=1e-12)
            expected = [term / math.fsum(terms) for term in terms]
            assert got.posterior[b, t].tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("alpha", [0.0, 2.0])
def test_gradcheck(tensors, alpha):
    leaves, positions, target = tensors
    if alpha:
        target[1::2] = target[::2].clone()
    assert torch.autograd.gradcheck(lambda *x: of_scores(x, positions, target, 0.1, alpha).loss_sum, leaves)


def test_weights_are_divided_by_their_sum(tensors):
    """As those of local_p, which do not sum to 1: the loss, and gradients through the sum."""
    leaves, positions, target = tensors
    query, source, scores, weight, bias = leaves
    gauss = torch.linspace(0.1, 0.9, K, dtype=torch.float64)
    got = mixture_cross_entropy(query, source, positions, scores.softmax(-1) * gauss, target, weight, bias)
    shifted = [query, source, scores + gauss.log(), weight, bias]
    expected, nll, posterior = oracle(shifted, positions, target)
    near(got.nll, nll.detach())
    near(got.posterior, posterior.detach())
    for mine, theirs in zip(gradients(got.loss_sum, leaves), gradients(expected, leaves), strict=True):
        near(mine, theirs)


def test_a_weight_of_zero_takes_its_position_out(tensors):
    """Also where it alone could have said the word; no gradient is anything but a number."""
    leaves, positions, target = tensors
    query, source, scores, weight, bias = leaves
    weights = torch.cat([scores.softmax(-1), scores.new_zeros(B, T, 2)], 2)
    wide = torch.cat([positions, positions[..., :2].flip(2)], 2)
    got = mixture_cross_entropy(query, source, wide, weights, target, weight, bias)
    expected = of_scores(leaves, positions, target)
    near(got.loss_sum, expected.loss_sum)
    near(got.posterior[..., :K], expected.posterior)
    assert not got.posterior[..., K:].any()
    for mine, theirs in zip(gradients(got.loss_sum, leaves), gradients(expected.loss_sum, leaves), strict=True):
        near(mine, theirs)


def test_padding_inside_a_chunk_counts_nothing(tensors):
    """The path for devices where padding cannot be left out without waiting for its count."""
    leaves, positions, target = tensors
    query, source, scores, weight, bias = leaves
    expected, nll, posterior = oracle(leaves, positions, target, 0.1)
    index = positions + torch.arange(0, B * S, S)[:, None, None]
    flat = [x.flatten(0, 1) for x in (query, source, scores.softmax(-1))]
    options = MixtureOptions(0.1)
    got, each, found = mixture._MixtureCrossEntropy.apply(
        *flat, weight, bias, index.flatten(0, 1), target.flatten(), options, True
    )
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=0)
    near(each.view(B, T), nll.detach())
    near(found.view(B, T, K), posterior.detach())
    for mine, theirs in zip(gradients(got, leaves), gradients(expected, leaves), strict=True):
        near(mine, theirs)


def test_only_what_needs_a_gradient_gets_one(tensors):
    leaves, positions, target = tensors
    frozen = [x.detach() for x in leaves]
    frozen[3] = leaves[3]
    (mine,) = gradients(of_scores(frozen, positions, target).loss_sum, [leaves[3]])
    (theirs,) = gradients(oracle(leaves, positions, target)[0], [leaves[3]])
    near(mine, theirs)
    with torch.no_grad():
        assert not of_scores(leaves, positions, target).loss_sum.requires_grad


def test_no_tensor_is_as_large_as_the_logits(tensors, monkeypatch):
    """Nothing is kept but the gradients of what came in, and no chunk is larger than CHUNK_LOGITS."""
    monkeypatch.setattr(mixture, "CHUNK_LOGITS", 2 * K * V)
    made = []
    linear = mixture.linear
    monkeypatch.setattr(mixture, "linear", lambda *x: made.append(linear(*x)) or made[-1])
    leaves, positions, target = tensors
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        of_scores(leaves, positions, target, 0.1)
    assert max(kept) <= max(B * S * H, V * H, B * T * H)
    assert max(x.numel() for x in made) <= 2 * K * V


def test_dropout_is_of_the_vectors(tensors, monkeypatch):
    """With every vector zeroed, all words are as likely as the bias makes them."""
    monkeypatch.setattr("nmt.models.ops.dropout.mask", lambda x, p: torch.zeros_like(x))
    (query, source, scores, weight, bias), positions, target = tensors
    options = MixtureOptions(dropout=0.5)
    got = mixture_cross_entropy(query, source, positions, scores.softmax(-1), target, weight, bias, options)
    real = target != PAD
    near(got.nll[real], -bias.detach().log_softmax(0)[target[real]])
    assert not torch.autograd.grad(got.loss_sum, [query], retain_graph=True)[0].any()
    assert not torch.autograd.grad(got.loss_sum, [weight])[0].any()


def test_search_mixes_the_same(tensors):
    leaves, positions, _ = tensors
    query, source, scores, weight, bias = (x.detach() for x in leaves)
    rows = source[torch.arange(B)[:, None, None], positions]
    logits = F.linear((query[:, :, None] + rows).tanh(), weight, bias).flatten(0, 1)
    got = mixed_log_probs(logits, 3 * scores.softmax(-1).flatten(0, 1))
    near(got.view(B, T, V), log_mixture(leaves, positions)[0].detach())


def test_autocast_sums_in_float32(tensors):
    """Products lose bfloat16's bits; softmax, sums over tokens and positions, and gradients' sums do not."""
    leaves, positions, target = tensors
    leaves = [
        x.detach().float().repeat(400, *[1] * (x.dim() - 1)) if x.dim() == 3 else x.detach().float() for x in leaves
    ]
    leaves = [x.requires_grad_() for x in leaves]
    positions, target = positions.repeat(400, 1, 1), target.repeat(400, 1)
    with torch.autocast("cpu", torch.bfloat16):
        got = of_scores(leaves, positions, target, 0.1)
    exact = of_scores(leaves, positions, target, 0.1)
    assert got.loss_sum.dtype == got.nll.dtype == got.posterior.dtype == torch.float32
    torch.testing.assert_close(got.loss_sum, exact.loss_sum, rtol=1e-3, atol=0)
    for mine, theirs in zip(gradients(got.loss_sum, leaves), gradients(exact.loss_sum, leaves), strict=True):
        assert mine.dtype == torch.float32
        assert (mine - theirs).norm() < 2e-2 * theirs.norm()


def test_r_drop_needs_an_even_number_of_sentences(tensors):
    leaves, positions, target = tensors
    with pytest.raises(ValueError, match="two by two, got 3"):
        of_scores([x[:3] if x.dim() == 3 else x for x in leaves], positions[:3], target[:3], 0.0, 1.0)
