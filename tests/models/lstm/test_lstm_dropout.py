"""Where the LSTM model drops: everything that is dropped is set to zero, and what that cuts off is looked at."""

import math

import pytest
import torch
from closeness import assert_close
from lstm_cases import V_TARGET, batch_of, build

from nmt.batch import PAD, Batch
from nmt.errors import ConfigError
from nmt.models.lstm.config import DropoutMask, DropoutPlacement


@pytest.mark.parametrize(
    "name", ["global", "global dot unfed", "bahdanau", "none unfed", "local_p", "global latent", "local_p latent"]
)
@pytest.mark.parametrize("placement", DropoutPlacement)
def test_dropout_is_where_its_placement_says(name, placement, monkeypatch):
    """With every dropped thing zeroed: ``standard`` projects zeros; ``luong`` projects what no word has reached."""
    model = build(name, dropout=0.5, dropout_placement=placement).train()
    model.projection.bias.data.zero_()
    monkeypatch.setattr("nmt.models.ops.dropout.mask", lambda x, p: torch.zeros_like(x))
    batch = batch_of()
    got = model(batch).nll
    real = batch.target_out != PAD
    uniform = torch.full_like(got[real], math.log(V_TARGET))
    if placement is DropoutPlacement.standard:
        assert_close(got[real], uniform)
        return
    assert ((got[real] - uniform).abs() > 1e-3).all()
    words = batch.target_in.where(batch.target_in == PAD, 7)
    changed = model(Batch(batch.source * 0 + 4, batch.source_lengths, words, batch.target_out, batch.ids)).nll
    assert_close(got, changed)


def all_but_the_last(x, probability, training, shared=None):
    """Zeroes what is dropped within a step, (R, H), and leaves the vectors of all positions, (T, B, H), whole."""
    return x if x.dim() == 3 else torch.zeros_like(x)


def test_what_is_fed_back_is_dropped_only_by_luong(monkeypatch):
    """Zeroing all that is dropped cuts feedback with ``luong``; ``standard`` leaves the fed copy whole."""
    for placement, cut in ((DropoutPlacement.luong, True), (DropoutPlacement.standard, False)):
        model = build("global", dropout=0.5, dropout_placement=placement).train()
        with monkeypatch.context() as patch:
            patch.setattr("nmt.models.ops.dropout.mask", lambda x, p: torch.zeros_like(x))
            words = model.embed(model.target_embedding, batch_of().target_in.t())
            encoded = model.encode(batch_of().source, batch_of().source_lengths)
            patch.setattr("nmt.models.lstm.decoder.dropout", all_but_the_last)
            vectors, _ = model.decoder(words, encoded.start, encoded.memory, False)
        (grad,) = torch.autograd.grad(vectors.sum(), model.decoder.layers[0].weight_ih_l0)
        assert not grad[:, :6].any()
        assert grad[:, 6:].any() != cut


@pytest.mark.parametrize("name", ["global deep residual", "global deep residual unfed", "bahdanau deep"])
@pytest.mark.parametrize("placement", DropoutPlacement)
def test_dropout_lies_between_layers(name, placement, monkeypatch):
    """With every dropped thing zeroed, no upper layer reads the one below it (whose biases keep it from zero)."""
    model = build(name, dropout=0.5, dropout_placement=placement, bias=True).train()
    monkeypatch.setattr("nmt.models.ops.dropout.mask", lambda x, p: torch.zeros_like(x))
    batch = batch_of()
    encoded = model.encode(batch.source, batch.source_lengths)
    words = model.embed(model.target_embedding, batch.target_in.t())
    if model.decoder.loops:
        monkeypatch.setattr("nmt.models.lstm.decoder.dropout", all_but_the_last)
        vectors, _ = model.decoder(words, encoded.start, encoded.memory, False)
    else:
        vectors, _ = model.decoder.all_positions(words, encoded.start, encoded.memory)
    layers = [*model.encoder.layers[2 if model.config.bidirectional else 1 :], *model.decoder.layers[1:]]
    for grad in torch.autograd.grad(vectors.sum(), [layer.weight_ih_l0 for layer in layers]):
        assert not grad.any()


def test_dropout_off_in_eval_and_random_in_training():
    model, batch = build("global", dropout=0.5), batch_of()
    assert torch.equal(model(batch).nll, model(batch).nll)
    model.train()
    assert not torch.equal(model(batch).nll, model(batch).nll)


@pytest.mark.parametrize("name", ["global deep residual", "global deep residual unfed", "bahdanau deep"])
@pytest.mark.parametrize("placement", DropoutPlacement)
@pytest.mark.parametrize("mask", DropoutMask)
def test_one_mask_for_a_sentence_takes_features_from_all_of_its_words(name, placement, mask):
    """Of one sentence, weights of a dropped feature get no gradient at all; with a mask for each word, all get some."""
    torch.manual_seed(0)
    model = build(name, dropout=0.5, dropout_placement=placement, dropout_mask=mask).train()
    batch = batch_of([([5, 6, 7, 8, 9, 5, 8, 6, 7] * 2, [6, 5, 7, 9, 8, 7, 5, 6] * 2)])
    model(batch).loss_sum.backward()
    lower = 2 if model.config.bidirectional else 1
    reading = [layer.weight_ih_l0 for layer in (*model.encoder.layers, *model.decoder.layers)]
    E = model.config.embedding_width
    parts = [weight.grad[:, :E] for weight in reading[:lower]]  # words
    parts += [weight.grad for weight in reading[lower : len(model.encoder.layers)]]
    parts += [model.decoder.layers[0].weight_ih_l0.grad[:, :E]]
    parts += [layer.weight_ih_l0.grad for layer in model.decoder.layers[1:]]
    if placement is DropoutPlacement.luong and model.decoder.loops:
        parts.append(model.decoder.layers[0].weight_ih_l0.grad[:, E:])  # what is fed back, or bahdanau's context
    if placement is DropoutPlacement.standard:
        parts.append(model.projection.weight.grad)
    for grad in parts:
        untouched = ~grad.any(0)
        assert untouched.any() == (mask is DropoutMask.sentence)
        assert not untouched.all()


def test_sentences_have_masks_of_their_own():
    torch.manual_seed(0)
    model = build("global", dropout=0.5, dropout_mask=DropoutMask.sentence).train()
    kept = model.embed(model.target_embedding, torch.full((7, 3), 5)) != 0  # (T, B, E)
    assert torch.equal(kept, kept[:1].expand_as(kept))
    assert not torch.equal(kept[0, 0], kept[0, 1])
    assert torch.equal(
        model.eval().embed(model.target_embedding, torch.tensor([[5]])), model.target_embedding.weight[5][None, None]
    )
    with pytest.raises(ConfigError, match=r"dropout_mask=sentence does not apply to model.mixture=predictions"):
        build("global latent", dropout_mask=DropoutMask.sentence)
