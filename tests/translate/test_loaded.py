"""nmt.load: given translations are scored, aligned and evaluated as the commands do, and attention is shown."""

import os
import random
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import nmt
from nmt.errors import ConfigError, DataError
from tests.helpers.tiny_runs import ENGLISH, GERMAN, MODELS, make_run

NAMES = list(MODELS)


@pytest.fixture(scope="module", params=NAMES)
def model(request, tmp_path_factory):
    return nmt.load(make_run(tmp_path_factory.mktemp("runs") / "a", MODELS[request.param]), device="cpu")


def test_the_score_of_a_translation_is_what_its_search_found(model):
    """Search sums log-probabilities step by step, score reads the whole sentence at once."""
    [found] = model.hypotheses(["one two three"])
    score = model.score("one two three", found[0].text)
    if found[0].finished:
        assert score.log_prob == pytest.approx(found[0].log_prob, abs=1e-4)
    assert score.log_prob == pytest.approx(sum(score.tokens), abs=1e-6)
    assert model.score(["one two three"], [found[0].text]) == [score]


def test_links_are_where_the_words_attention_is_greatest(model):
    """Words are pieces in this vocabulary, so that the mean map itself has the links in its rows."""
    source, target = "one two three", "eins zwei"
    maps = model.attention(source, target)
    rows = maps.weights.mean((0, 1))[model.align_config.steps_later :][:2, :3]
    assert model.align(source, target) == sorted((int(row.argmax()), j) for j, row in enumerate(rows))
    assert model.align([source], [target]) == [model.align(source, target)]


def test_attention_has_a_row_and_a_column_for_every_piece(model):
    for maps in (model.attention("one two three"), model.attention("one two three", "eins zwei")):
        assert isinstance(maps.weights, np.ndarray)
        assert maps.weights.shape[2:] == (len(maps.target), len(maps.source))
        for shown in (maps, maps.plot()):  # in a notebook, where nothing has imported pyplot
            assert shown._repr_png_().startswith(b"\x89PNG")
    assert maps.target[-1] == "</s>"


def test_evaluating_gives_the_translations_and_their_scores(model):
    found = model.evaluate(ENGLISH, GERMAN, metrics=["chrf"])
    assert found.hypotheses == model.translate(ENGLISH)
    tokens = [t for scored in model.score(ENGLISH, GERMAN) for t in scored.tokens]
    assert found.loss == pytest.approx(-np.mean(tokens), rel=1e-5)


def test_threads_may_share_a_model(model):
    """Eight threads get what one gets."""
    texts = [" ".join(ENGLISH[0].split()[i : i + 4]) for i in range(7)]

    def all_of(text):
        return model.translate(text), model.score(text, "eins zwei").log_prob, model.attention(text).weights.tolist()

    alone = [all_of(text) for text in texts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(all_of, texts * 3)) == alone * 3


def process_state():
    """What a library must leave as it was."""
    return (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),
        random.getstate(),
        [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)],
        os.getcwd(),  # noqa: PTH109
    )


def test_nothing_of_the_process_is_changed(model):
    before = process_state()
    again = nmt.load(model.run.directory, device="cpu")
    again.translate("one")
    again.evaluate(["one"], ["eins"])
    again.attention("one", "eins")
    assert process_state() == before


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda m: m.score("one", ["eins"]), TypeError, "targets must be a str"),
        (
            lambda m: m.translate(["one", "a \ud800 dog"]),
            DataError,
            "^texts: number 1, counted from 0, has half of a surr",
        ),
        (lambda m: m.translate("one", prefixes="\udc00"), DataError, "^prefixes: number 0, counted from 0, has half"),
        (lambda m: m.score("one", "\ud800"), DataError, "^targets: number 0, counted from 0, has half"),
        (lambda m: m.attention("\ud800"), DataError, "^text: number 0, counted from 0, has half"),
        (lambda m: m.attention("one", "\ud800"), DataError, "^target: number 0, counted from 0, has half"),
        (lambda m: m.attention("one", 5), TypeError, "target must be a str, got 5"),
        (lambda m: m.score(["one", "two"], ["eins"]), DataError, "targets: there are 1 of them, and 2 sources"),
        (lambda m: m.align(["one"], [1]), TypeError, "targets must be"),
        (lambda m: m.attention(3), TypeError, "text must be a str"),
        (lambda m: m.attention("one", " "), DataError, "target is blank"),
        (lambda m: m.evaluate("one", ["eins"]), TypeError, "sources must be a list"),
        (lambda m: m.evaluate(["one"], []), DataError, "references: there are 0"),
        (lambda m: m.evaluate([], []), DataError, "sources is empty"),
        (lambda m: m.evaluate(["one"], ["eins"], ["blue"]), ConfigError, "metrics: 'blue' is not one of bleu"),
    ],
)
def test_a_wrong_argument_is_named(model, call, error, said):
    with pytest.raises(error, match=said):
        call(model)
