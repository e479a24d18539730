"""The LSTM model against the equations, one sentence and one step at a time; and its promises to search."""

import pytest
import torch
import torch.distributed as dist
from closeness import assert_close
from lstm_cases import CONFIGS, PAIRS, V_TARGET, batch_of, build
from lstm_reference import encode, loss
from torch.nn.parallel import DistributedDataParallel

from nmt.batch import PAD, Batch

everything = pytest.mark.parametrize("name", CONFIGS)
some = pytest.mark.parametrize("name", ["global", "global dot unfed", "local_p", "bahdanau deep", "none"])


def gradients(model, loss_sum):
    return torch.autograd.grad(loss_sum, [p for _, p in sorted(model.named_parameters())])


@everything
def test_loss_and_gradients_follow_the_equations(name):
    """Each sentence alone, unpadded, step by step: the same NLL of every token, loss, and gradient of every weight."""
    model = build(name)
    output = model(batch_of())
    expected, nll = loss(model, PAIRS, eps=0.1)
    assert_close(output.loss_sum, expected)
    assert output.tokens.item() == sum(len(t) + 1 for _, t in PAIRS)
    for row, each in zip(output.nll, nll, strict=True):
        assert_close(row[: len(each)], each.detach())
        assert not row[len(each) :].any()
    for mine, theirs in zip(gradients(model, output.loss_sum), gradients(model, expected), strict=True):
        assert_close(mine, theirs, atol=1e-9)


@everything
def test_steps_equal_teacher_forcing(name):
    """Search's incremental decoding gives every token the probability that training gives it, and the same maps."""
    model, batch = build(name), batch_of()
    with torch.no_grad():
        expected = model(batch, want_maps=True)
        state = model.start(model.encode(batch.source, batch.source_lengths))
        for t in range(batch.target_in.size(1)):
            logits, state, maps = model.step(batch.target_in[:, t : t + 1], state, want_maps=True)
            log_p = logits[:, 0].log_softmax(1).gather(1, batch.target_out[:, t : t + 1])[:, 0]
            real = batch.target_out[:, t] != PAD
            assert_close(-log_p[real], expected.nll[real, t])
            if maps is None or expected.maps is None:
                assert maps is expected.maps is None
                continue
            assert_close(maps.weights[:, :, :, 0], expected.maps.weights[:, :, :, t], atol=1e-6)
            if maps.centre is not None:
                assert_close(maps.centre[..., 0], expected.maps.centre[..., t])


@some
def test_hypotheses_follow_their_parents(name):
    """K hypotheses of a sentence, reordered and widened on the way, go on as if each had been alone."""
    model, batch = build(name), batch_of()
    with torch.no_grad():
        state = model.start(model.encode(batch.source, batch.source_lengths))
        _, state, _ = model.step(torch.full((3, 1), 2), state)
        state = state.reorder(torch.zeros(3, 4, dtype=torch.int64))
        words = torch.randint(4, V_TARGET, (3, 4))
        _, state, _ = model.step(words, state)
        parent = torch.randint(0, 4, (3, 5))
        state = state.reorder(parent)
        more = torch.randint(4, V_TARGET, (3, 5))
        logits, _, _ = model.step(more, state)
        for b, (source, _) in enumerate(PAIRS):
            for k in range(5):
                alone = model.start(model.encode(torch.tensor([source]), torch.tensor([len(source)])))
                for word in (2, words[b, parent[b, k]], more[b, k]):
                    expected, alone, _ = model.step(torch.tensor([[word]]), alone)
                assert_close(logits[b, k], expected[0, 0])


@some
def test_kept_sentences_go_on_as_before(name):
    model, batch = build(name), batch_of()
    with torch.no_grad():
        _, state, _ = model.step(torch.full((3, 1), 2), model.start(model.encode(batch.source, batch.source_lengths)))
        expected, _, _ = model.step(torch.full((3, 1), 5), state)
        got, _, _ = model.step(torch.full((2, 1), 5), state.keep(torch.tensor([2, 1])))
        assert_close(got, expected[[2, 1]])


@everything
def test_padding_is_invisible_to_the_last_bit(name):
    """Other ids in the padding change no loss and no gradient."""
    model, batch = build(name), batch_of()
    source, target = batch.source.clone(), batch.target_in.clone()
    source[source == PAD] = 4
    target[target == PAD] = 4
    other = Batch(source, batch.source_lengths, target, batch.target_out, batch.ids)
    a, b = model(batch), model(other)
    assert torch.equal(a.nll, b.nll)
    # The embedding's own gradients are summed in another order where rows of padding come to share an id.
    for x, y in zip(gradients(model, a.loss_sum), gradients(model, b.loss_sum), strict=True):
        assert_close(x, y, atol=1e-13)


@some
def test_companions_change_nothing(name):
    """A sentence's loss is its own, whatever lies beside it and however wide the batch is padded."""
    model = build(name)
    together = model(batch_of([*PAIRS, ([4] * 17, [4] * 19)])).nll
    for b, pair in enumerate(PAIRS):
        alone = model(batch_of([pair])).nll[0]
        assert_close(together[b, : len(alone)], alone)


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


@pytest.mark.parametrize("name", ["global", "global dot unfed", "bahdanau", "local_p"])
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
