"""The LSTM model against the equations, one sentence and one step at a time; and its promises to search."""

import pytest
import torch
import torch.distributed as dist
from closeness import assert_close
from lstm_cases import CONFIGS, PAIRS, batch_of, build
from lstm_reference import encode, log_probs, loss
from torch.nn.parallel import DistributedDataParallel

from nmt.models.lstm.config import Mixture

everything = pytest.mark.parametrize("name", CONFIGS)
some = pytest.mark.parametrize(
    "name", ["global", "global dot unfed", "local_p", "bahdanau deep", "global latent", "global lexical", "none"]
)


def gradients(model, loss_sum):
    return torch.autograd.grad(loss_sum, [p for _, p in sorted(model.named_parameters())])


@everything
def test_loss_and_gradients_follow_the_equations(name):
    """Each sentence alone, unpadded, step by step: the same NLL of every token, loss, and gradient of every weight."""
    model = build(name)
    output = model(batch_of())
    expected, nll = loss(model, PAIRS, model.label_smoothing)
    assert_close(output.loss_sum, expected)
    assert output.tokens.item() == sum(len(t) + 1 for _, t in PAIRS)
    for row, each in zip(output.nll, nll, strict=True):
        assert_close(row[: len(each)], each.detach())
        assert not row[len(each) :].any()
    for mine, theirs in zip(gradients(model, output.loss_sum), gradients(model, expected), strict=True):
        assert_close(mine, theirs, atol=1e-9)


@pytest.mark.parametrize("name", [name for name in CONFIGS if "latent" in name or "lexical" in name])
def test_the_posterior_of_latent_alignment(name):
    """p(s | x, y_t) = a_s p(y_t | s) / p(y_t), as float32 over all source positions; with the maps, which are a."""
    model, batch = build(name), batch_of()
    assert model(batch).posterior is None
    output = model(batch, want_maps=True)
    assert output.posterior.half_width == output.maps.half_width
    assert output.posterior.weights.shape == output.maps.weights.shape
    assert not output.posterior.weights.requires_grad
    for b, (source, target) in enumerate(PAIRS):
        posteriors = []
        log_probs(model, source, target, posteriors)
        found = output.posterior.weights[b, 0, 0]
        expected = torch.stack(posteriors).float()
        torch.testing.assert_close(found[: len(expected), : expected.size(1)], expected)
        assert not found[len(expected) :].any()
        assert not found[:, expected.size(1) :].any()
    assert (output.posterior.weights - output.maps.weights)[0].abs().max() > 0.01


def test_only_a_latent_alignment_has_a_posterior():
    assert build("global")(batch_of(), want_maps=True).posterior is None


def test_mixing_contexts_is_another_model():
    """Of the same weights."""
    model, soft = build("global latent"), build("global latent", mixture=Mixture.contexts)
    soft.load_state_dict(model.state_dict())
    assert (model(batch_of()).nll - soft(batch_of()).nll).abs().max() > 0.1


def test_maps_only_on_request():
    model, batch = build("local_p"), batch_of()
    assert model(batch).maps is None
    maps = model(batch, want_maps=True).maps
    assert maps.weights.shape == (3, 1, 1, 6, 7)
    assert maps.weights.dtype == torch.float32
    assert maps.centre.shape == (3, 1, 1, 6)
    assert maps.half_width == 2
    assert ((maps.centre > 0) & (maps.centre < batch.source_lengths[:, None, None, None])).all()
    state = model.start(model.encode(batch.source, batch.source_lengths))
    assert model.step(torch.full((3, 1), 2), state)[2] is None
    weights = build("global")(batch, want_maps=True).maps.weights
    torch.testing.assert_close(weights.sum(4), torch.ones(3, 1, 1, 6))
    assert not weights[1, :, :, :, 1:].any()  # the second sentence has one word


@pytest.mark.parametrize("name", ["global", "global uni reversed", "global eos reversed", "local_p reversed"])
def test_memory_is_in_natural_order(name):
    model, batch = build(name), batch_of()
    memory = model.encode(batch.source, batch.source_lengths).memory
    for b, (source, _) in enumerate(PAIRS):
        expected, _ = encode(model, source)
        assert memory.lengths[b] == len(expected)
        assert_close(memory.values[b, : len(expected)], expected)
        assert not memory.values[b, len(expected) :].any()


def test_end_of_sentence_joins_the_source_of_bahdanau_alone():
    attentions = {"none": False, "global": False, "local_m": False, "local_p": False, "hard": False, "bahdanau": True}
    assert {name: build(name).source_eos for name in attentions} == attentions
    assert not build("bahdanau", source_eos=False).source_eos


@pytest.mark.parametrize("name", ["none", "global", "local_m", "local_p", "hard"])
def test_input_feeding_is_the_default(name):
    """null means true; true is the same model, false another."""
    null, true = build(name), build(name, input_feeding=True)
    assert torch.equal(null(batch_of()).nll, true(batch_of()).nll)
    word = true.config.embedding_width
    assert true.decoder.layers[0].input_size == word + 6
    assert build(name, input_feeding=False).decoder.layers[0].input_size == word


def test_one_loss_per_mechanism():
    """No two mechanisms compute the same from the same weights (sources longer than the windows)."""
    pairs = [(list(range(4, 13)), [5, 6, 7, 8])]
    losses = [build(n, source_eos=False)(batch_of(pairs)).loss_sum.item() for n in ("none", "bahdanau")]
    weights = build("local_p").state_dict()
    for name in ("global", "local_m", "local_p", "hard"):
        model = build(name)
        model.load_state_dict({k: weights[k] for k in model.state_dict()})
        losses.append(model(batch_of(pairs)).loss_sum.item())
    assert len({round(x, 6) for x in losses}) == 6


@pytest.mark.parametrize("name", ["global", "global dot unfed", "bahdanau", "local_p", "local_p latent"])
def test_autocast_is_near_float32_with_float32_gradients(name):
    model, batch = build(name).float(), batch_of()
    for p in model.parameters():
        p.data *= 0.5
    exact = model(batch)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(batch)
        with torch.no_grad():
            state = model.start(model.encode(batch.source, batch.source_lengths))
            logits, state, _ = model.step(torch.full((3, 1), 2), state)
    assert rough.loss_sum.dtype == rough.nll.dtype == logits.dtype == state.rows.dtype == torch.float32
    torch.testing.assert_close(rough.loss_sum, exact.loss_sum, rtol=0.01, atol=0)
    mine, theirs = gradients(model, rough.loss_sum), gradients(model, exact.loss_sum)
    assert all(g.dtype == torch.float32 for g in mine)
    mine, theirs = torch.cat([g.flatten() for g in mine]), torch.cat([g.flatten() for g in theirs])
    assert (mine - theirs).norm() < 0.03 * theirs.norm()


@some
def test_gradients_may_be_taken_twice_and_from_two_batches(name):
    """retain_graph, and accumulation over batches as one backward pass or two."""
    model = build(name)
    a, b = model(batch_of(PAIRS[:2])).loss_sum, model(batch_of(PAIRS[2:])).loss_sum
    both = [x + y for x, y in zip(gradients(model, a), gradients(model, b), strict=True)]
    again = gradients(model, model(batch_of(PAIRS[:2])).loss_sum + model(batch_of(PAIRS[2:])).loss_sum)
    c = model(batch_of(PAIRS)).loss_sum
    once = torch.autograd.grad(c, list(model.parameters()), retain_graph=True)
    twice = torch.autograd.grad(c, list(model.parameters()))
    for x, y in zip(both, again, strict=True):
        assert_close(x, y)
    for x, y in zip(once, twice, strict=True):
        assert torch.equal(x, y)


@some
def test_distributed_data_parallel_sees_every_gradient(name, tmp_path):
    """DDP, which hooks parameters' gradients, gives what the bare model gives."""
    model, batch = build(name), batch_of()
    expected = torch.autograd.grad(model(batch).loss_sum, list(model.parameters()))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        DistributedDataParallel(model)(batch).loss_sum.backward()
    finally:
        dist.destroy_process_group()
    for p, grad in zip(model.parameters(), expected, strict=True):
        assert p.grad is not None
        assert_close(p.grad, grad)
