"""The chunked loss of what single words predict against the whole table in memory, and by loops over scalars."""

import math

import pytest
import torch
import torch.nn.functional as F

from nmt.batch import PAD
from nmt.models.ops import lexical
from nmt.models.ops.lexical import lexical_cross_entropy

B, T, S, H, V = 4, 6, 5, 3, 11


@pytest.fixture
def tensors():
    """vectors, scores of the weights, weight, bias; lengths and target, some of it padding, words that come twice."""
    torch.manual_seed(0)
    leaves = [torch.randn(x, dtype=torch.float64, requires_grad=True) for x in ((B, S, H), (B, T, S), (V, H), (V,))]
    lengths = torch.tensor([S, 2, 4, 1])
    target = torch.randint(1, V, (B, T))
    target[0, 1] = target[0, 3]
    target[[1, 1, 3], [5, 4, 5]] = PAD
    return leaves, lengths, target


def weights_of(scores, lengths):
    outside = torch.arange(S) >= lengths[:, None, None]
    return scores.masked_fill(outside, float("-inf")).softmax(2)


def others_of(lengths):
    """Weights that are not those of the scores, 0 at padding."""
    return weights_of(torch.linspace(-2, 2, B * T * S, dtype=torch.float64).cos().mul(3).view(B, T, S), lengths)


def kernel(leaves, lengths, target, factor=0.0):
    vectors, scores, weight, bias = leaves
    others = others_of(lengths)
    return lexical_cross_entropy(vectors, weights_of(scores, lengths), others, target, weight, bias, factor)


def oracle(leaves, lengths, target, factor):
    """Loss, -log p of each token, and the posterior."""
    vectors, scores, weight, bias = leaves
    of_words = F.linear(vectors, weight, bias).softmax(2).gather(2, target[:, None].expand(B, S, T)).transpose(1, 2)
    joint, real = weights_of(scores, lengths) * of_words, (target != PAD).double()
    other = (of_words * others_of(lengths)).sum(2)
    nll = -joint.sum(2).log() * real
    posterior = joint / joint.sum(2, keepdim=True) * real[..., None]
    return nll.sum() - factor * (other.log() * real).sum(), nll, posterior


def gradients(loss_sum, leaves):
    return torch.autograd.grad(loss_sum / 7, leaves)


def near(mine, theirs):
    torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sentences", [1, 3, 100])
@pytest.mark.parametrize("factor", [0.0, 1.0, 0.3])
def test_equals_the_whole_table(tensors, sentences, factor, monkeypatch):
    """Values and every gradient, whatever the chunk, scaled from above."""
    monkeypatch.setattr(lexical, "CHUNK_LOGITS", sentences * S * V)
    monkeypatch.setattr(lexical, "CACHED_LOGITS", 2 * V)
    leaves, lengths, target = tensors
    expected, nll, posterior = oracle(leaves, lengths, target, factor)
    got = kernel(leaves, lengths, target, factor)
    torch.testing.assert_close(got.loss_sum, expected, rtol=1e-12, atol=0)
    near(got.nll, nll.detach())
    near(got.posterior, posterior.detach())
    assert not got.nll.requires_grad
    assert not got.posterior.requires_grad
    for mine, theirs in zip(gradients(got.loss_sum, leaves), gradients(expected, leaves), strict=True):
        near(mine, theirs)


def test_equals_loops_over_scalars(tensors):
    """The formula of the module's docstring, one position and one word at a time."""
    leaves, lengths, target = tensors
    vectors, scores, weight, bias = (x.detach().tolist() for x in leaves)
    got, total_loss, others = kernel(leaves, lengths, target, 0.3), 0.0, others_of(lengths).tolist()
    for b in range(B):
        places = range(int(lengths[b]))
        tables = []
        for s in places:
            p = [
                math.exp(math.fsum(map(math.prod, zip(weight[v], vectors[b][s], strict=True))) + bias[v])
                for v in range(V)
            ]
            tables.append([x / math.fsum(p) for x in p])
        for t in range(T):
            y = int(target[b, t])
            if y == PAD:
                assert got.nll[b, t] == 0
                assert not got.posterior[b, t].any()
                continue
            total = math.fsum(math.exp(scores[b][t][s]) for s in places)
            terms = [math.exp(scores[b][t][s]) / total * tables[s][y] for s in places]
            assert got.nll[b, t].item() == pytest.approx(-math.log(math.fsum(terms)), rel=1e-12)
            expected = [term / math.fsum(terms) for term in terms] + [0.0] * (S - len(terms))
            assert got.posterior[b, t].tolist() == pytest.approx(expected, rel=1e-12)
            other = math.fsum(others[b][t][s] * tables[s][y] for s in places)
            total_loss -= math.log(math.fsum(terms)) + 0.3 * math.log(other)
    assert got.loss_sum.item() == pytest.approx(total_loss, rel=1e-12)


def test_gradcheck(tensors):
    leaves, lengths, target = tensors
    assert torch.autograd.gradcheck(lambda *x: kernel(x, lengths, target, 0.7).loss_sum, leaves)


def test_a_weight_of_zero_takes_its_position_out(tensors):
    """Exactly, with a finite gradient; and words so unlikely that their probability is no float32 stay finite."""
    leaves, lengths, target = tensors
    vectors, scores, weight, _ = (x.detach().float() for x in leaves)
    a = weights_of(scores, lengths).clone()
    a[0, :, 1:] = 0
    a.requires_grad_()
    vectors = (100 * vectors).requires_grad_()
    got = lexical_cross_entropy(vectors, a, others_of(lengths), target, 5 * weight, None, 1.0)
    assert got.posterior[0, :, 0].tolist() == [1.0] * T
    assert not got.posterior[0, :, 1:].any()
    assert got.nll.max() > 200  # exp(-200) is 0 in float32
    of_a, of_vectors = torch.autograd.grad(got.loss_sum, [a, vectors])
    assert not of_a[0, :, 1:].any()
    assert of_a.isfinite().all()
    assert of_vectors.isfinite().all()


def test_without_gradients_and_in_bfloat16(tensors):
    """The same loss without a graph; near it, with float32 gradients, in autocast."""
    leaves, lengths, target = tensors
    leaves = [x.detach().float().requires_grad_() for x in leaves]
    exact = kernel(leaves, lengths, target, 1.0)
    with torch.no_grad():
        assert torch.equal(kernel(leaves, lengths, target, 1.0).loss_sum, exact.loss_sum)
    with torch.autocast("cpu", torch.bfloat16):
        rough = kernel(leaves, lengths, target, 1.0)
    assert rough.loss_sum.dtype == rough.nll.dtype == torch.float32
    torch.testing.assert_close(rough.loss_sum, exact.loss_sum, rtol=0.01, atol=0)
    mine, theirs = (torch.cat([g.flatten() for g in gradients(x.loss_sum, leaves)]) for x in (rough, exact))
    assert mine.dtype == torch.float32
    assert (mine - theirs).norm() < 0.03 * theirs.norm()
