"""nmt.eval.look and Translator.attention: the page holds what the model attends to, and nothing from a network."""

import json
import re
import sys
from dataclasses import replace
from html import unescape
from unittest.mock import patch

import numpy as np
import pytest
import torch
from tiny_runs import MODELS, make_run

import nmt
from nmt.batch import EOS, collate
from nmt.cli import look
from nmt.data.tokenizer import TokenizerKind
from nmt.errors import DataError
from nmt.eval.figures.picture import Picture
from nmt.models.lstm.config import Mixture
from nmt.models.seq2seq import AttentionMaps
from nmt.report.look import look_page
from nmt.runs.directory import Run, save_config

SOURCE, TARGET = "two dog </script> four", "zwei Hund vier"


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("look")
    return {name: make_run(root / name, MODELS[name]) for name in ("local_p", "transformer")}


def page(*words: str) -> None:
    with patch.object(sys, "argv", ["nmt.eval.look", *words, "device=cpu"]):
        look.main()


def test_the_page_has_the_weights_of_every_run_and_needs_no_network(runs, tmp_path):
    out, both = tmp_path / "look.html", ",".join(map(str, runs.values()))
    page(f"run=[{both}]", f"source='{SOURCE}'", f"target='{TARGET}'", f"output={out}")
    html = out.read_text(encoding="utf-8")
    assert not re.search(r"(https?:)?//\w|<link|src=|@import|url\(", html)
    views = html.split('<div class="view">')[1:]
    assert len(views) == len(runs)
    for shown, (name, run) in zip(views, runs.items(), strict=True):
        data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', shown)[0])
        attention = nmt.load(run, device="cpu").attention(SOURCE, TARGET)
        np.testing.assert_allclose(np.array(data["thousandths"]) / 1000, attention.weights, atol=6e-4)
        assert data["half_width"] == attention.half_width == (2 if name == "local_p" else None)
        if attention.centre is not None:
            np.testing.assert_allclose(data["centre"], attention.centre, atol=6e-4)
        assert [unescape(t) for t in re.findall(r"<span>(.*?)</span>", shown)] == attention.source
        assert [unescape(t) for t in re.findall(r'<span tabindex="0">(.*?)</span>', shown)] == attention.target


def test_self_attention_stands_beside_it(runs, tmp_path):
    """Of the run that has some, encoder and decoder; a page of runs without any is refused."""
    out, both = tmp_path / "look.html", ",".join(map(str, runs.values()))
    typed = (f"source='{SOURCE}'", f"target='{TARGET}'", f"output={out}", "self_attention=true")
    page(f"run=[{both}]", *typed)
    views = out.read_text(encoding="utf-8").split('<div class="view">')[1:]
    of_run, run = len(runs), runs["transformer"]
    own = nmt.load(run, device="cpu").self_attention(SOURCE, TARGET)
    assert [picture.kind for picture in own] == ["encoder", "decoder"]
    for shown, picture in zip(views[of_run:], own, strict=True):
        assert shown.startswith(f"<h3>{run}, {picture.kind}</h3>")
        data = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', shown)[0])
        np.testing.assert_allclose(np.array(data["thousandths"]) / 1000, picture.maps.weights.numpy(), atol=6e-4)
        assert [unescape(t) for t in re.findall(r"<span>(.*?)</span>", shown)] == picture.source
    with pytest.raises(SystemExit, match="self_attention=true: no run has any"):
        page(f"run={runs['local_p']}", *typed)


def test_attention_is_that_of_the_model(runs):
    translator = nmt.load(runs["transformer"], device="cpu")
    attention = translator.attention("two dog", TARGET)
    ids = [
        side.encode([t])[0]
        for side, t in ((translator.tokenizers.source, "two dog"), (translator.tokenizers.target, TARGET))
    ]
    with torch.no_grad():
        maps = translator.model(collate([ids[0]], [ids[1]], [0]), want_maps=True).maps
    np.testing.assert_allclose(attention.weights, maps.weights[0].numpy(), rtol=1e-5)
    assert attention.target == translator.tokenizers.target.pieces([*ids[1], EOS])
    assert attention.plot().axes
    own = translator.attention("two dog")
    assert own.target == translator.attention("two dog", translator.translate("two dog")).target
    with pytest.raises(DataError, match="text is blank"):
        translator.attention(" ")


def test_tokens_cannot_end_the_page_early():
    maps = AttentionMaps(torch.ones(1, 1, 1, 2) / 2)
    html = look_page(
        "a", [("<b>", [("</script>", Picture(0, "x", ["<i>", "\u0645\u0631\u062d\u0628\u0627"], ["</script>"], maps))])]
    )
    assert "<b>" not in html
    assert "<i>" not in html
    assert html.count("</script>") == 2
    assert html.count('dir="auto"') == 4


def test_files_of_unequal_length_are_refused(runs, tmp_path):
    (tmp_path / "a").write_text("two\nthree\n")
    (tmp_path / "b").write_text("zwei\n")
    with pytest.raises(SystemExit, match=r"error: .*2 lines"):
        page(f"run={runs['local_p']}", f"source={tmp_path / 'a'}", f"target={tmp_path / 'b'}")


def test_it_says_what_the_page_shows_and_whether_that_was_a_file(runs, tmp_path, capsys):
    """A mistyped name of a file is a text, too."""
    out = tmp_path / "look.html"
    (tmp_path / "a").write_text("two\nthree\n")
    for source, said in ((tmp_path / "a", "2 of its sentences"), (tmp_path / "b", "a text, since no file has")):
        page(f"run={runs['local_p']}", f"source={source}", f"output={out}")
        assert capsys.readouterr().out.startswith(f"{out} shows source={source} ({said}")


@pytest.mark.parametrize("name", ["local_p", "transformer"])
def test_bertviz_gets_the_arguments_that_it_takes(runs, tmp_path, name):
    """Layers of 1 x heads x queries x keys, with a token for each; the weights are the model's."""
    out = tmp_path / "look.json"
    page(f"run={runs[name]}", f"source='{SOURCE}'", f"target='{TARGET}'", "to=bertviz", f"output={out}")
    [found] = json.loads(out.read_text(encoding="utf-8"))
    assert (found["source"], found["run"]) == (SOURCE, str(runs[name]))
    view, loaded = found["view"], nmt.load(runs[name], device="cpu")
    kinds = {"cross_attention": ("decoder", "encoder")}
    if name == "transformer":
        kinds |= {"encoder_attention": ("encoder",) * 2, "decoder_attention": ("decoder",) * 2}
    assert set(view) == {*kinds, "encoder_tokens", "decoder_tokens", "include_layers"}
    for kind, (queries, keys) in kinds.items():
        weights = np.array(view[kind])
        assert weights.shape[1] == 1
        assert weights.shape[3:] == (len(view[f"{queries}_tokens"]), len(view[f"{keys}_tokens"]))
        assert len(weights) > max(view["include_layers"])
    np.testing.assert_allclose(
        np.array(view["cross_attention"])[:, 0], loaded.attention(SOURCE, TARGET).weights, atol=1e-6
    )
    assert view["decoder_tokens"][0] == ("<s>" if name == "transformer" else "zwei")
    own = {picture.kind: picture.maps.weights.numpy() for picture in loaded.self_attention(SOURCE, TARGET)}
    for kind, weights in own.items():
        np.testing.assert_allclose(np.array(view[f"{kind}_attention"])[:, 0], weights, atol=1e-6)


def test_bertviz_itself_shows_it(runs, tmp_path):
    """The lines of docs/heatmaps.md, where BertViz is installed."""
    bertviz = pytest.importorskip("bertviz")
    out = tmp_path / "look.json"
    page(f"run={runs['transformer']}", f"source='{SOURCE}'", "to=bertviz", f"output={out}")
    given = json.loads(out.read_text(encoding="utf-8"))[0]["view"]
    tensors = {name: [torch.tensor(layer) for layer in given[name]] for name in given if name.endswith("attention")}
    for view in (bertviz.head_view, bertviz.model_view):
        shown = view(**(given | tensors), html_action="return").data
        assert json.dumps(given["encoder_tokens"]) in shown
        assert json.dumps(given["decoder_tokens"]) in shown


def test_a_posterior_is_called_one(tmp_path):
    model = replace(MODELS["local_p"], mixture=Mixture.predictions)
    latent, soft = make_run(tmp_path / "latent", model), make_run(tmp_path / "soft", MODELS["local_p"])
    page(f"run=[{latent},{soft}]", "source='two dog'", "target='zwei Hund'", f"output={tmp_path / 'look.html'}")
    names = re.findall(r"<h3>(.*?)</h3>", (tmp_path / "look.html").read_text(encoding="utf-8"))
    assert names == [f"{latent}, posterior", str(soft)]


def test_a_run_of_several_directions_is_looked_at_in_the_one_that_is_named(tmp_path, capsys):
    run = make_run(tmp_path / "both", MODELS["local_p"], TokenizerKind.bpe)
    config = Run.open(run).config
    config.data.pairs, config.data.tags = ["en-de", "de-en"], True
    (run / "config.yaml").unlink()
    save_config(run, config)
    words = f"run={run}", "source='zwei Hund'", "target='two dog'", f"output={tmp_path / 'look.html'}"
    for into, said in (("de", ""), ("en", ""), (None, "note: into de, the first of de, en; into=LANGUAGE chooses")):
        page(*words, *([] if into is None else [f"into={into}"]))
        [pieces] = re.findall(
            r'class="tokens source" dir="auto">(.*?)</p>', (tmp_path / "look.html").read_text("utf-8")
        )
        shown = "".join(unescape(t) for t in re.findall(r"<span>(.*?)</span>", pieces))
        assert f"<0x32>{into or 'de'}<0x3E>" in shown  # the tag <2de>, spelled in bytes where need be
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit, match=r"into=fr: this run translates into de, en"):
        page(*words, "into=fr")


def test_a_long_line_is_warned_of_by_its_place(runs, tmp_path, capsys):
    text = tmp_path / "text"
    text.write_text("two dog\n" + "two dog " * 200 + "\n", encoding="utf-8")
    page(f"run={runs['local_p']}", f"source={text}", f"output={tmp_path / 'look.html'}")
    err = capsys.readouterr().err
    assert re.search(r"^warning: sentence 2: 400 pieces", err, re.MULTILINE), err
    assert "UserWarning" not in err


def test_a_source_that_is_empty_has_to_be_given(runs):
    with pytest.raises(SystemExit, match=r"source is empty: it has to be given"):
        page(f"run={runs['local_p']}", "source=''")
