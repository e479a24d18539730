"""One evaluation: loss, translations, scores, pictures."""

import json
import math
import random
from dataclasses import replace

import pytest
import torch
from eval_fakes import HEADS, LAYERS, FakeModel, thirds

from nmt.batch import BOS, EOS
from nmt.data.pharaoh import parse_pharaoh
from nmt.data.text import ParallelText
from nmt.device import Precision
from nmt.errors import ConfigError, DataError
from nmt.eval.alignment import AlignConfig, Pool, hard_alignment, score_alignments, word_weights
from nmt.eval.evaluate import EvaluationOptions, PictureRequest, evaluate, sentences_to_draw, spread
from nmt.eval.metrics import score_corpus
from nmt.search import DecodeConfig, ForcedOptions, force_decode, translate_ids

CPU = torch.device("cpu")
RNG = random.Random(0)
WORDS = ["ant", "badger", "cat", "dolphin", "elephants", "fox"]
SOURCE = [" ".join(RNG.choices(WORDS, k=n)) for n in (3, 7, 1, 5, 2, 12, 4)]
TARGET = [" ".join(RNG.choices(WORDS, k=n)) + "\u00a0" for n in (4, 6, 2, 2, 3, 9, 4)]
TEXT = ParallelText("animals", SOURCE, TARGET)
TOKENIZERS = thirds(SOURCE, TARGET)
DECODE = DecodeConfig(beam_size=2, max_length=12, batch_size=3, precision=Precision.fp32)


def fake(**options) -> FakeModel:
    return FakeModel(TOKENIZERS.source.size, **options).eval()


def evaluated(model, text=TEXT, *, sentences=(), self_attention=False, **options):
    pictures = PictureRequest(sentences, self_attention)
    return evaluate(model, TOKENIZERS, text, EvaluationOptions(CPU, DECODE, **options), pictures)


@torch.no_grad()
def slow_loss(model: FakeModel, source: str, target: str) -> float:
    """-log p(target, EOS | source), a sentence and a token at a time."""
    ids = torch.tensor(TOKENIZERS.source.encode([source]))
    state = model.start(model.encode(ids, torch.tensor([ids.size(1)])))
    total, before = 0.0, BOS
    for token in [*TOKENIZERS.target.encode([target])[0], EOS]:
        logits, state, _ = model.step(torch.tensor([[before]]), state)
        total -= float(logits[0, 0].log_softmax(-1)[token])
        before = token
    return total


@pytest.mark.parametrize("source_eos", [False, True])
def test_loss_is_the_mean_over_all_target_tokens_and_ends_of_sentences(source_eos):
    model = fake(source_eos=source_eos)
    found = evaluated(model, TEXT)
    tokens = sum(len(ids) + 1 for ids in TOKENIZERS.target.encode(TARGET))
    total = sum(slow_loss(model, s, t) for s, t in zip(SOURCE, TARGET, strict=True))
    assert found.target_tokens == tokens
    assert found.loss == pytest.approx(total / tokens, rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.loss))


@pytest.mark.parametrize("batch_tokens", [1, 20, 10**6])
def test_loss_does_not_depend_on_how_sentences_are_batched(batch_tokens):
    expected = evaluated(fake(), TEXT).loss
    found = evaluated(fake(), TEXT, batch_tokens=batch_tokens)
    assert found.loss == pytest.approx(expected, rel=1e-6)


def test_translations_are_those_of_search_scored_against_the_raw_references():
    model = fake()
    found = evaluated(model, TEXT, metrics=["bleu", "chrf", "ter"], languages=("en", "ja"))
    searched = translate_ids(model, TOKENIZERS.source.encode(SOURCE), DECODE, CPU, Precision.fp32)
    assert found.hypotheses == TOKENIZERS.target.decode([h[0].ids for h in searched])
    assert found.scores == score_corpus(["bleu", "chrf", "ter"], found.hypotheses, TARGET, "ja")
    assert found.tokens == sum(len(h[0].ids) + h[0].finished for h in searched)
    assert sum(bucket.sentences for bucket in found.by_length) == found.sentences == len(SOURCE)


def test_a_perfect_model_has_a_perfect_score():
    """References that the model itself wrote, with white space at their ends."""
    written = evaluated(fake(), TEXT).hypotheses
    text = ParallelText("own", SOURCE, [line + " \u00a0" for line in written])
    assert evaluated(fake(), text).scores["chrf"].value == pytest.approx(100)


def test_a_part_is_spread_evenly_and_always_the_same():
    assert spread(10, 4) == [0, 2, 5, 7]
    assert spread(3, None) == spread(3, 3) == spread(3, 9) == [0, 1, 2]
    for total, limit in ((1014, 200), (7, 6), (100, 1)):
        places = spread(total, limit)
        assert len(set(places)) == limit
        assert max(places) < total
    found = evaluated(fake(), TEXT, limit=3)
    part = ParallelText("part", [SOURCE[i] for i in found.indices], [TARGET[i] for i in found.indices])
    alone = evaluated(fake(), part)
    assert found.indices == spread(len(SOURCE), 3)
    assert (found.loss, found.hypotheses, found.scores) == (alone.loss, alone.hypotheses, alone.scores)


def test_the_model_is_evaluated_without_dropout_and_left_as_it_was():
    model = fake().train()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    found = [evaluated(model, TEXT, sentences=[1]) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), before)
    assert found[0].loss == found[1].loss == evaluated(fake(), TEXT).loss
    assert model.training
    assert model.dropout.training
    assert all(p.grad is None for p in model.parameters())


def test_the_mode_comes_back_after_an_error():
    model = fake().train()
    with pytest.raises(ValueError, match="not evaluated"):
        evaluated(model, TEXT, sentences=[1], limit=1)
    assert model.training


@pytest.mark.parametrize("source_eos", [False, True])
def test_pictures_show_the_references_and_the_translations_of_the_sentences_asked_for(source_eos):
    """The maps of a translation are those that search saw."""
    model = fake(source_eos=source_eos)
    found = evaluated(model, TEXT, sentences=[5, 2])
    assert [(p.sentence, p.kind) for p in found.pictures] == [
        (5, "reference"),
        (5, "translation"),
        (2, "reference"),
        (2, "translation"),
    ]
    searched = translate_ids(model, TOKENIZERS.source.encode(SOURCE), DECODE, CPU, Precision.fp32, want_maps=True)
    for picture in found.pictures:
        source = TOKENIZERS.source.pieces(TOKENIZERS.source.encode(SOURCE)[picture.sentence])
        assert picture.source == [*source, "</s>"][: len(source) + source_eos]
        weights = picture.maps.weights
        assert weights.shape == (LAYERS, HEADS, len(picture.target), len(picture.source))
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))
        best = searched[picture.sentence][0]
        ids = best.ids if picture.kind == "translation" else TOKENIZERS.target.encode(TARGET)[picture.sentence]
        assert picture.target == TOKENIZERS.target.pieces([*ids, EOS])
        if picture.kind == "translation":
            assert best.maps is not None
            torch.testing.assert_close(weights, best.maps.weights)
            torch.testing.assert_close(picture.maps.centre, best.maps.centre)
        assert picture.maps.half_width == 1
        picture.draw(step=3)


class SelfAttentive(FakeModel):
    """The encoder sees everything alike, the decoder the word before alone."""

    def self_maps(self, batch):
        S, T = batch.source.size(1) + self.source_eos, batch.target_in.size(1)
        return torch.full((1, LAYERS, HEADS, S, S), 1 / S), torch.eye(T).roll(-1, 1).expand(1, LAYERS, HEADS, T, T)


@pytest.mark.parametrize("source_eos", [False, True])
def test_self_attention_is_pictured_on_request(source_eos):
    """Both sides of the reference pair; the decoder reads the beginning of a sentence and not its end."""
    model = SelfAttentive(TOKENIZERS.source.size, source_eos).eval()
    found = evaluated(model, TEXT, sentences=[5], self_attention=True)
    encoder, decoder = found.pictures[2:]
    assert [(p.sentence, p.kind) for p in (encoder, decoder)] == [(5, "encoder"), (5, "decoder")]
    assert encoder.source == encoder.target == found.pictures[0].source
    assert decoder.source == decoder.target == ["<s>", *found.pictures[0].target[:-1]]
    assert encoder.maps.weights.shape[2:] == (len(encoder.source),) * 2
    assert torch.equal(decoder.maps.weights[0, 0], torch.eye(len(decoder.source)).roll(-1, 1))
    encoder.draw(step=3)
    assert not evaluated(model, TEXT, self_attention=True).pictures
    assert len(evaluated(fake(), TEXT, sentences=[5], self_attention=True).pictures) == 2


@pytest.mark.parametrize("side", [0, 1])
def test_self_attention_of_one_side_alone_is_pictured(side, monkeypatch):
    """As of an LSTM whose encoder remembers its words, or whose decoder looks back."""
    model = SelfAttentive(TOKENIZERS.source.size).eval()
    expected = evaluated(model, TEXT, sentences=[5], self_attention=True).pictures[2 + side]
    both = model.self_maps
    monkeypatch.setattr(
        model, "self_maps", lambda batch: tuple(x if i == side else None for i, x in enumerate(both(batch)))
    )
    [found] = evaluated(model, TEXT, sentences=[5], self_attention=True).pictures[2:]
    assert (found.kind, found.source) == (expected.kind, expected.source)
    assert torch.equal(found.maps.weights, expected.maps.weights)


def test_no_figure_depends_on_which_sentences_are_pictured():
    plain, drawn = (evaluated(fake(), TEXT, sentences=m) for m in ([], [0, 3]))
    assert (plain.loss, plain.hypotheses, plain.scores) == (drawn.loss, drawn.hypotheses, drawn.scores)
    assert not plain.pictures


def test_a_model_without_attention_has_no_pictures_and_no_alignment():
    text = ParallelText("gold", SOURCE, TARGET, gold=[""] * len(SOURCE))
    found = evaluated(fake(attention=False), text, sentences=[0])
    assert found.pictures == []
    assert found.alignment == {}
    assert "aer" not in found.numbers()


@pytest.mark.parametrize("elsewhere", [False, True])
@pytest.mark.parametrize("source_eos", [False, True])
def test_attention_is_judged_against_gold_links(source_eos, elsewhere):
    """Word by word from the maps of one pair at a time, for the part that is evaluated or for the same part of another
    set; with both shifts, of which the better is logged."""
    model = fake(source_eos=source_eos)
    gold = [
        " ".join(f"{i % 3}-{i}" for i in range(len(t.split())) if i % 3 < len(s.split()))
        for s, t in zip(SOURCE, TARGET, strict=True)
    ]
    text = ParallelText("gold", SOURCE, TARGET, gold)
    judged, watched = (TEXT, text) if elsewhere else (text, None)
    config = AlignConfig(pool=Pool.max)
    found = evaluated(model, judged, limit=4, alignment=config, gold=watched)
    expected: dict[int, list] = {0: [], 1: []}
    for i in found.indices:
        source, target = TOKENIZERS.source.encode([SOURCE[i]]), TOKENIZERS.target.encode([TARGET[i]])
        ((_, forced),) = force_decode(model, source, target, ForcedOptions(CPU, Precision.fp32), want_maps=True)
        assert forced.maps is not None
        words = TOKENIZERS.source.words(source[0]), TOKENIZERS.target.words(target[0])
        mean = forced.maps.weights.mean((0, 1)).numpy()
        for shift, links in expected.items():
            links.append(hard_alignment(word_weights(mean, *words, shift, Pool.max)))
    true = parse_pharaoh([gold[i] for i in found.indices], "gold")
    assert found.alignment == {shift: score_alignments(links, true) for shift, links in expected.items()}
    assert found.numbers()["aer"] == min(judged.aer for judged in found.alignment.values())
    assert found.to_dict()["alignment"]["shift 1"]["aer"] == found.alignment[1].aer
    assert str(found.alignment[0]) in str(found)


def test_blank_sources_have_blank_translations():
    text = ParallelText("blank", ["ant", " \u00a0", "", "\u2066\u2069"], ["cat", "fox", "", "fox"])
    found = evaluated(fake(), text)
    assert found.hypotheses[1:] == ["", "", ""]
    assert math.isfinite(found.loss)


def test_results_are_json_and_hypotheses_are_lines():
    """Even after a divergence."""
    found = evaluated(fake(), TEXT)
    assert not any("\n" in line for line in found.hypotheses)
    results = json.loads(json.dumps(found.to_dict()))
    assert results["loss"] == found.loss
    assert results["scores"]["bleu"]["signature"] == found.scores["bleu"].signature
    for loss in (math.nan, math.inf, 800.0):
        diverged = replace(found, loss=loss)
        json.dumps(diverged.to_dict(), allow_nan=False)
        assert not math.isfinite(diverged.perplexity)
    assert f"{found.scores['bleu'].value:.2f}" in str(found)


def test_what_makes_the_scores_mislead_is_said_with_them():
    chinese = ParallelText("set", SOURCE, ["我喜欢猫"] * len(SOURCE))
    found = evaluated(fake(), chinese, languages=("en", "de"))
    assert found.to_dict()["notes"] == found.notes
    assert f"note: {found.notes[0]}" in str(found)
    assert evaluated(fake(), chinese, languages=("en", "zho_Hans")).notes == []


def test_sentences_to_draw_are_legible_and_of_different_lengths():
    sources = ["ant " * n for n in (1, 50, 3, 2, 9, 39, 5, 4)] + [""]
    text = ParallelText("lengths", sources, ["cat"] * 8 + ["fox"])
    chosen = sentences_to_draw(text, TOKENIZERS, 3)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == 3
    assert not set(chosen) & {1, 8}
    assert sentences_to_draw(text, TOKENIZERS, 99) == [0, 2, 3, 4, 5, 6, 7]
    assert sentences_to_draw(text, TOKENIZERS, 0) == []
    assert set(sentences_to_draw(text, TOKENIZERS, 2, limit=4)) <= set(spread(9, 4))


def test_mistakes_are_named():
    with pytest.raises(DataError, match="empty has no sentences"):
        evaluated(fake(), ParallelText("empty", [], []))
    with pytest.raises(ConfigError, match="'blue'"):
        evaluated(fake(), TEXT, metrics=["blue"])
    text = ParallelText("set", SOURCE, TARGET, gold=["99-0"] * len(SOURCE))
    with pytest.raises(DataError, match=r"gold links of set:1: link 99-0"):
        evaluated(fake(), text)
