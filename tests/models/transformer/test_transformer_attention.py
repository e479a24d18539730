"""Positions against their formulas, and local self-attention in blocks against the masked whole."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from attention_reference import NORMALIZERS, dot
from closeness import assert_close
from transformer_cases import batch_of, build

from nmt.errors import ConfigError
from nmt.models.attention.base import additive_mask
from nmt.models.transformer import self_attention
from nmt.models.transformer.multi_head import CrossAttention, plain_attention
from nmt.models.transformer.positions import Sinusoids, rotate
from nmt.models.transformer.self_attention import BandedAttention, FullAttention

LIKE = torch.zeros(1, dtype=torch.float64)


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoids_follow_the_formula(width):
    """PE(p, 2i) = sin(p / 10000^(2i / D)), PE(p, 2i + 1) = cos of the same; from any place on."""
    got = Sinusoids(width)(range(3, 70), LIKE).flatten(1)[:, :width]
    for p in range(3, 70):
        for i in range(width):
            angle = p / 10000 ** ((i - i % 2) / width)
            assert got[p - 3, i].item() == pytest.approx(math.cos(angle) if i % 2 else math.sin(angle), abs=1e-12)


def test_positions_first_met_in_search_serve_in_training():
    with torch.inference_mode():
        rotations = Sinusoids(22)(range(5), LIKE)
    x = torch.randn(1, 5, 1, 22, dtype=torch.float64, requires_grad=True)
    rotate(x, rotations).sum().backward()
    assert x.grad is not None


def test_a_table_made_in_search_serves_training():
    """Tensors of inference mode cannot be kept for a backward pass."""
    positions = Sinusoids(4)
    with torch.inference_mode():
        positions(range(3), torch.zeros(1))
    x = torch.ones(1, 3, 1, 4, requires_grad=True)
    rotate(x, positions(range(3), x)).sum().backward()
    assert x.grad is not None


def test_rotary_products_depend_on_distance_alone():
    """(R_p q) . (R_r k) is the same for all p - r; lengths do not change; place 0 is not turned."""
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 3, 8, dtype=torch.float64)
    rotations = Sinusoids(8)(range(40), LIKE)
    turned_q, turned_k = (rotate(x.expand(1, 40, 3, 8), rotations)[0] for x in (q, k))
    products = torch.einsum("phf,rhf->hpr", turned_q, turned_k)
    for distance in (-7, 0, 1, 12):
        line = products.diagonal(distance, 1, 2)
        assert_close(line, line[:, :1].expand_as(line), atol=1e-12)
    assert (products[:, 0, 0] - products[:, 0, 5]).abs().min() > 1e-3
    assert_close(turned_q.norm(dim=2), q[0].norm(dim=2).expand(40, 3), atol=1e-12)
    assert_close(turned_q[0], q[0, 0])


def test_a_sequence_without_learned_positions_is_refused_by_key():
    model = build("learned", max_positions=9)
    assert model.longest_source == 9
    assert build("before").longest_source is None
    model(batch_of([([4] * 8, [5] * 8)]))
    with pytest.raises(ConfigError, match=r"10 positions: model.positions=learned .* model.max_positions=9"):
        model(batch_of([([4] * 9, [5])]))


@pytest.mark.parametrize("name", NORMALIZERS)
def test_heads_normalize_as_they_are_told(name):
    """Weights and output of attention to the source, head by head and word by word; maps change nothing."""
    layer = build("before", cross_attention_normalizer=name).decoder.layers[0].cross_attention
    assert isinstance(layer, CrossAttention)
    x, source = torch.randn(1, 3, 8, dtype=torch.float64), torch.randn(1, 5, 8, dtype=torch.float64)
    mask = additive_mask(torch.arange(5) < 4, torch.float64)[None, None, None]
    memory, record = layer.keys_and_values(source), []
    got = layer(x, memory, mask, record)
    assert_close(layer(x, memory, mask, None), got)
    q = layer.query(x)[0].view(3, 2, 4)
    for n, h in itertools.product(range(3), range(2)):
        keys = [list(memory[0, s, 0, h].unbind()) for s in range(4)]
        weights = NORMALIZERS[name]([dot(list(q[n, h].unbind()), k) / math.sqrt(4) for k in keys])
        assert_close(record[0].weights[0, 0, h, n], torch.stack([*weights, torch.zeros(())]))
    mixed = torch.einsum("hns,shf->nhf", record[0].weights[0, 0], memory[0, :, 1]).flatten(1)
    assert_close(got[0], layer.output(mixed))


def masked_whole(q, k, v, W, lengths, causal):
    """Masked full attention, position by position: rows (B, T, H, F), zero beyond the lengths."""
    rows = torch.zeros_like(q)
    for b, length in enumerate(lengths):
        for t in range(length):
            seen = [s for s in range(length) if abs(s - t) <= W and (s <= t or not causal)]
            scores = torch.einsum("hf,shf->hs", q[b, t], k[b, seen]) / math.sqrt(q.size(3))
            rows[b, t] = torch.einsum("hs,shf->hf", scores.softmax(1), v[b, seen])
    return rows


@pytest.mark.parametrize("causal", [False, True], ids=["both sides", "causal"])
@pytest.mark.parametrize(("W", "T"), [(1, 4), (1, 23), (2, 24), (4, 25), (7, 15), (7, 29), (3, 12), (30, 23)], ids=str)
def test_blocks_are_the_masked_whole(W, T, causal, monkeypatch):
    """Values and gradients, for lengths at and off the blocks' borders; sentences of other lengths beside."""
    monkeypatch.setattr(self_attention, "LEAST_BLOCK", 3)
    torch.manual_seed(0)
    lengths = [T, max(1, T // 2), 1]
    q, k, v = leaves = [torch.randn(3, T, 2, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    band = BandedAttention(W, torch.zeros(3, T, 8, dtype=torch.float64), None if causal else torch.tensor(lengths))
    assert (band.count > 1) == (max(W, 3) + W * (1 if causal else 2) < T)
    real = (torch.arange(T) < torch.tensor(lengths)[:, None])[..., None, None]
    expected = masked_whole(q, k, v, W, lengths, causal)
    got = band(q, k, v)
    assert got.isfinite().all()
    got = got * real
    assert_close(got, expected)
    weight = torch.randn_like(got)
    mine, theirs = (torch.autograd.grad((x * weight).sum(), leaves) for x in (got, expected))
    for a, b in zip(mine, theirs, strict=True):
        assert_close(a, b)


@pytest.mark.parametrize("masked", ["no", "keys", "causal"])
def test_plain_products_are_the_fused_attention(masked):
    """Values and gradients."""
    torch.manual_seed(0)
    q, k, v = leaves = [torch.randn(2, 3, 7, 4, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    seen = torch.tensor([[1, 1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]], dtype=torch.bool)[:, None, None]
    mask = additive_mask(seen, torch.float64) if masked == "keys" else None
    results = (
        plain_attention(q, k, v, mask, masked == "causal", 0.0),
        F.scaled_dot_product_attention(q, k, v, mask, 0.0, masked == "causal"),
    )
    mine, theirs = ((x, *torch.autograd.grad(x.square().sum(), leaves)) for x in results)
    for a, b in zip(mine, theirs, strict=True):
        assert_close(a, b)


def test_plain_products_drop_weights():
    """Of 4096 equal weights on values of 1 half are dropped, the others doubled."""
    torch.manual_seed(0)
    q, k, v = torch.zeros(1, 1, 3, 4), torch.zeros(1, 1, 4096, 4), torch.ones(1, 1, 4096, 4)
    got = plain_attention(q, k, v, None, False, 0.5)
    torch.testing.assert_close(got, torch.ones_like(got), rtol=0, atol=0.1)
    assert len(got[..., 0].unique()) == 3


@pytest.mark.parametrize("causal", [False, True])
def test_a_band_as_wide_as_the_sentence_sees_everything(causal):
    torch.manual_seed(0)
    x = torch.randn(2, 70, 2, 4, dtype=torch.float64)
    lengths = None if causal else torch.tensor([70, 70])
    like = torch.zeros(2, 70, 8, dtype=torch.float64)
    assert_close(BandedAttention(69, like, lengths)(x, x, x), FullAttention(like, lengths)(x, x, x))


@pytest.mark.parametrize("causal", [False, True])
def test_what_is_kept_for_the_backward_pass_grows_linearly(causal):
    """Twice the length, at most twice the bytes; the whole would need four times."""

    def kept(T):
        sizes = []
        x = torch.randn(1, T, 2, 8, requires_grad=True)
        band = BandedAttention(16, torch.zeros(1, T, 16), None if causal else torch.tensor([T]))
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            band(x, x, x)
        return sum(sizes) + band.mask.numel()

    assert kept(1024) <= 2.05 * kept(512)
