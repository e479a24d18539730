"""The Transformer against torch's own with the same weights; and its promises to training and search."""

import math
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from closeness import assert_close
from torch import nn
from transformer_cases import CONFIGS, EVERY, PAIRS, TINY, V, batch_of, build

from nmt.batch import EOS, PAD
from nmt.models import TransformerConfig, build_model
from nmt.models.transformer import kv_cache
from nmt.models.transformer.config import Activation, Norm

everything = pytest.mark.parametrize("name", CONFIGS)


def gradients(model, loss_sum):
    return torch.autograd.grad(loss_sum, list(model.parameters()))


def copy(theirs, mine):
    """Give a layer of torch the weights of one of ours."""
    attentions = [(theirs.self_attn, mine.self_attention, mine.self_attention.inputs)]
    norms = [(theirs.norm1, mine.around_self)]
    if isinstance(theirs, nn.TransformerDecoderLayer):
        cross = mine.cross_attention
        both = nn.Linear(1, 1)
        both.weight, both.bias = (
            nn.Parameter(torch.cat([getattr(cross.query, key), getattr(cross.memory, key)]))
            for key in ("weight", "bias")
        )
        attentions.append((theirs.multihead_attn, cross, both))
        norms += [(theirs.norm2, mine.around_cross), (theirs.norm3, mine.around_feed)]
    else:
        norms += [(theirs.norm2, mine.around_feed)]
    with torch.no_grad():
        for attention, ours, inputs in attentions:
            attention.in_proj_weight.copy_(inputs.weight)
            attention.in_proj_bias.copy_(inputs.bias)
            attention.out_proj.load_state_dict(ours.output.state_dict())
    theirs.linear1.load_state_dict(mine.feed_forward.inner.state_dict())
    theirs.linear2.load_state_dict(mine.feed_forward.outer.state_dict())
    for norm, around in norms:
        norm.load_state_dict(around.norm.state_dict())


def torch_loss(model, batch, eps=0.1):
    """Loss and -log p (B, T) of torch.nn's layers with the model's weights."""
    config = model.config
    how = {
        "dropout": 0.0,
        "activation": config.activation.name,
        "batch_first": True,
        "norm_first": config.norm is Norm.before,
        "dtype": torch.float64,
    }
    sizes = config.hidden_size, config.heads, config.ffn_size

    def embed(table, ids):
        D, T = config.hidden_size, ids.size(1)
        place = [
            [(math.cos if i % 2 else math.sin)(p / 10000 ** ((i - i % 2) / D)) for i in range(D)] for p in range(T)
        ]
        return F.embedding(ids, table.words.weight) * math.sqrt(D) + torch.tensor(place, dtype=torch.float64)

    def last(x, norm):
        return F.layer_norm(x, x.shape[-1:], norm.weight, norm.bias) if config.norm is Norm.before else x

    source = torch.cat([batch.source, torch.full_like(batch.source[:, :1], PAD)], 1)
    for row, length in zip(source, batch.source_lengths, strict=True):
        row[length] = EOS
    outside = source == PAD
    x = embed(model.source_embedding, source)
    for layer in model.encoder.layers:
        theirs = nn.TransformerEncoderLayer(*sizes, **how)
        copy(theirs, layer)
        x = theirs(x, src_key_padding_mask=outside)
    memory = last(x, model.encoder.norm)
    x = embed(model.target_embedding, batch.target_in)
    future = torch.ones(x.size(1), x.size(1), dtype=torch.bool).triu(1)
    for layer in model.decoder.layers:
        theirs = nn.TransformerDecoderLayer(*sizes, **how)
        copy(theirs, layer)
        x = theirs(x, memory, tgt_mask=future, memory_key_padding_mask=outside)
    logits = F.linear(last(x, model.decoder.norm), model.projection.weight).transpose(1, 2)
    expected = F.cross_entropy(logits, batch.target_out, ignore_index=PAD, label_smoothing=eps, reduction="sum")
    return expected, F.cross_entropy(logits, batch.target_out, ignore_index=PAD, reduction="none")


@pytest.mark.parametrize(("norm", "activation"), list(product(Norm, (Activation.relu, Activation.gelu))))
def test_it_is_torchs_transformer(norm, activation):
    """The same loss, -log p of every token and gradients of all word vectors, from the same weights."""
    model, batch = build("before", norm=norm, activation=activation), batch_of()
    output = model(batch)
    expected, nll = torch_loss(model, batch)
    assert_close(output.loss_sum, expected)
    assert_close(output.nll, nll.detach())
    assert output.tokens.item() == sum(len(t) + 1 for _, t in PAIRS)
    tables = [model.source_embedding.words.weight, model.target_embedding.words.weight]
    mine, theirs = (torch.autograd.grad(loss, tables) for loss in (output.loss_sum, expected))
    real = torch.arange(V) != PAD  # the table does not learn from padding, torch's functional lookup does
    for a, b in zip(mine, theirs, strict=True):
        assert_close(a[real], b[real])


def test_swiglu():
    """SiLU(W x + b) * (V x + c), then W_2: Shazeer 2020, eq. 6."""
    layer = build("rotary").encoder.layers[0].feed_forward
    x = torch.randn(3, 8, dtype=torch.float64)
    a, b = F.linear(x, layer.inner.weight, layer.inner.bias).split(12, 1)
    assert_close(layer(x), F.linear(a / (1 + (-a).exp()) * b, layer.outer.weight, layer.outer.bias))


@everything
@pytest.mark.parametrize(("spare", "masked"), [(32, 8), (1, 8), (1, 0)], ids=["room to spare", "copied", "gathered"])
def test_hypotheses_follow_their_parents(name, spare, masked, monkeypatch):
    """Hypotheses that are reordered, widened and narrowed at every step, and sentences that are dropped on the way, go
    on as if each hypothesis had been alone; whichever way the cache is read, and however often it moves."""
    monkeypatch.setattr(kv_cache, "SPARE_STEPS", spare)
    monkeypatch.setattr(kv_cache, "MASKED_SLOTS_PER_TOKEN", masked)
    model, batch, generator = build(name), batch_of(), torch.Generator().manual_seed(3)
    state = model.start(model.encode(batch.source, batch.source_lengths))
    rows, words = [0, 1, 2], torch.full((3, 1, 1), 2)  # (B, K, t) what each hypothesis has read
    for step, width in enumerate((4, 4, 5, 3, 4, 4, 2, 5, 1)):
        logits, state, _ = model.step(words[:, :, -1], state)
        for b, k in product(range(len(rows)), range(words.size(1))):
            assert_close(logits[b, k], alone(model, PAIRS[rows[b]][0], words[b, k])[-1])
        parent = torch.randint(0, words.size(1), (len(rows), width), generator=generator)
        if step == 4:
            kept = torch.tensor([2, 0])
            rows, words, parent, state = [2, 0], words[kept], parent[kept], state.keep(kept)
        state = state.reorder(parent)
        words = words.gather(1, parent[..., None].expand(-1, -1, words.size(2)))
        words = torch.cat([words, torch.randint(4, V, (len(rows), width, 1), generator=generator)], 2)


def alone(model, source, target):
    """Logits (T, V) of one sentence in teacher forcing."""
    with torch.no_grad():
        memory = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
        return model.projection(model.decode(target[None], memory, None))[0]


@everything
def test_a_state_may_be_used_twice(name):
    """A step changes no state that was there before it, and empty room in the cache is never read."""
    model, batch = build(name), batch_of()
    _, state, _ = model.step(torch.full((3, 1), 2), model.start(model.encode(batch.source, batch.source_lengths)))
    state.cache.slots.rows[:, :, :, state.cache.used :] = math.nan
    first, after, _ = model.step(torch.full((3, 1), 5), state)
    other, branch, _ = model.step(torch.full((3, 1), 9), state)
    again, _, _ = model.step(torch.full((3, 1), 5), state)
    assert not torch.equal(first, other)
    assert_close(again, first)
    expected = [alone(model, s, torch.tensor([2, word, 6]))[-1] for s, _ in PAIRS for word in (5, 9)]
    got = [model.step(torch.full((3, 1), 6), x)[0][:, 0] for x in (after, branch)]
    assert_close(torch.stack(got, 1).flatten(0, 1), torch.stack(expected))


def test_maps_are_made_on_request():
    """Of every layer and head over the words and end-of-sentence, as part of the graph; output stays the same."""
    model, batch = build("before"), batch_of()
    plain, output = model(batch), model(batch, want_maps=True)
    assert plain.maps is None
    assert torch.equal(plain.nll, output.nll)
    weights = output.maps.weights
    assert weights.shape == (3, 2, 2, 8, 10)
    assert weights.dtype == torch.float32
    torch.testing.assert_close(weights.sum(4), torch.ones(3, 2, 2, 8))
    assert not weights[1, :, :, :, 2:].any()  # one word and end-of-sentence
    assert torch.autograd.grad(weights[0, 0, 0, 0, 0], model.decoder.layers[0].cross_attention.query.weight)[0].any()


def test_maps_are_what_attention_does():
    """Output of cross-attention = its linear map of the weighted sum of values."""
    attention = build("before").decoder.layers[0].cross_attention
    x, source = torch.randn(3, 4, 8, dtype=torch.float64), torch.randn(3, 5, 8, dtype=torch.float64)
    mask = torch.zeros(3, 1, 1, 5, dtype=torch.float64)
    mask[0, :, :, 3:] = -math.inf
    record = []
    memory = attention.keys_and_values(source)
    got = attention(x, memory, mask, record)
    context = torch.einsum("bhns,bshf->bnhf", record[0].weights[:, 0], memory[:, :, 1])
    assert_close(got, attention.output(context.flatten(2)))


@pytest.mark.parametrize("name", ["before", "local"])
def test_self_attention_can_be_seen(name):
    """Every layer and head; rows sum to 1; nothing outside the sentence, the past, or the window."""
    model = build(name)
    encoder, decoder = model.self_maps(batch_of())
    S, reach = 9 + model.source_eos, 2 if name == "local" else 99
    assert encoder.shape == (3, 3, 2, S, S)
    assert decoder.shape == (3, 2, 2, 8, 8)
    gap = torch.arange(S) - torch.arange(S)[:, None]
    torch.testing.assert_close(encoder.sum(4), torch.ones(3, 3, 2, S))
    torch.testing.assert_close(decoder.sum(4), torch.ones(3, 2, 2, 8))
    assert torch.equal(encoder[2] > 0, (gap.abs() <= reach).expand(3, 2, S, S))
    assert not encoder[0, :, :, : 3 + model.source_eos, 3 + model.source_eos :].any()
    assert torch.equal(decoder[0] > 0, ((gap <= 0) & (gap >= -reach))[:8, :8].expand(2, 2, 8, 8))


def test_end_of_sentence_joins_the_source():
    assert build("before").source_eos
    assert not build("before", source_eos=False).source_eos
    assert model_reads_eos(build("before"))
    assert not model_reads_eos(build("before", source_eos=False))


def model_reads_eos(model):
    model.source_embedding.words.weight.data[EOS] += 1
    return not torch.equal(model(batch_of()).nll, build("before", source_eos=model.source_eos)(batch_of()).nll)


@everything
def test_autocast_is_near_float32_with_float32_gradients(name):
    model, batch = build(name).float(), batch_of()
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(batch)
        memory = model.encode(batch.source, batch.source_lengths)
        logits, state, _ = model.step(torch.full((3, 1), 2), model.start(memory))
    assert rough.loss_sum.dtype == rough.nll.dtype == logits.dtype == torch.float32
    assert state.cache.slots.rows.dtype == memory.layers[0].dtype == torch.bfloat16
    torch.testing.assert_close(rough.loss_sum, exact.loss_sum, rtol=0.03, atol=0)
    mine, theirs = gradients(model, rough.loss_sum), gradients(model, exact.loss_sum)
    assert all(g.dtype == torch.float32 for g in mine)
    mine, theirs = torch.cat([g.flatten() for g in mine]), torch.cat([g.flatten() for g in theirs])
    assert (mine - theirs).norm() < 0.1 * theirs.norm()


def test_r_drop_compares_neighbouring_sentences():
    """R-Drop's term is the divergence of sentences 2b and 2b + 1, token by token."""
    model, alpha = build("before"), 3.0
    batch = batch_of([([5, 7, 4], [9, 4]), ([8, 8, 8], [9, 4]), ([12], [5, 6, 7]), ([4], [5, 6, 7])])
    plain, both = model(batch), model(batch, r_drop=alpha)
    assert_close(both.nll, plain.nll)
    memory = model.encode(batch.source, batch.source_lengths)
    log_p = model.projection(model.decode(batch.target_in, memory, None)).log_softmax(2)
    p, q = log_p[::2], log_p[1::2]
    kl = ((p.exp() - q.exp()) * (p - q)).sum(2)[batch.target_out[::2] != PAD]
    assert_close(both.loss_sum - plain.loss_sum, alpha / 2 * kl.sum())


@pytest.mark.parametrize("key", ["dropout", "attention_dropout", "activation_dropout"])
def test_each_dropout_acts_in_training_alone(key):
    changes: Any = {key: 0.5}
    model, batch = build("before", **changes), batch_of()
    exact = build("before")(batch).nll
    assert torch.equal(model(batch).nll, exact)
    model.train()
    a, b = model(batch).nll, model(batch).nll
    assert not torch.equal(a, exact)
    assert not torch.equal(a, b)


def test_first_weights():
    """Word vectors N(0, 1/D) with a zero for padding, so that sqrt(D) times a vector has variance 1; biases zero."""
    config = TransformerConfig(**{**vars(CONFIGS["before"]), **TINY, "hidden_size": 64, "self_attention": EVERY})
    model = build_model(config, 500, 500, joint=False)
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            assert not p.any()
    words = model.get_parameter("source_embedding.words.weight")
    assert not words[PAD].any()
    assert words[1:].std().item() == pytest.approx(1 / 8, rel=0.05)
