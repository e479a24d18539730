"""python -m nmt.serve: how it begins and ends, and the page it shows."""

import base64
import hashlib
import os
import re
import signal
import sys
import threading
from typing import Any
from unittest.mock import patch

import pytest
from command_line import refused, typed
from served import Asking, Client, Gate, serving, translator_of, until
from tiny_runs import MODELS, make_run

import nmt
from nmt.cli import serve as command
from nmt.cli.serve import COMMAND
from nmt.errors import ConfigError
from nmt.serve import server
from nmt.serve.config import ServeOptions
from nmt.serve.page import page, page_policy


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("serve") / "here", MODELS["local_p"])


def test_loopback_alone_by_default(run):
    [[config]] = typed(f"run={run}", command=COMMAND)
    assert (config.serve.host, config.serve.port) == ("127.0.0.1", 8000)
    assert refused(f"run={run}", "serve.port=x", command=COMMAND) == "error: serve.port must be a whole number, got x"
    assert "serve.max_chars must be 1 to 10000000" in refused(f"run={run}", "serve.max_chars=0", command=COMMAND)
    assert "did you mean: serve.max_batch" in refused(f"run={run}", "serve.max_bach=3", command=COMMAND)


@pytest.mark.parametrize("library", ["starlette", "uvicorn"])
def test_a_missing_library_is_named(run, library, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setattr(sys, "argv", ["nmt.serve", f"run={run}"])
    with pytest.raises(SystemExit) as caught:
        command.main()
    message = str(caught.value.code)
    assert message.startswith(f"error: nmt.serve needs the package {library}")
    assert message.endswith(f"pip install {library}, or pip install '.[serve]' in the source tree of nmt")


def test_the_command_serves_what_was_typed(run, monkeypatch, capsys):
    """Decoding, checkpoint and title; where the run lies on this computer is nobody's business."""
    found: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda translator, options, say: found.append((translator, options)))
    for words in (["decode.beam_size=2"], ["serve.title=Numbers", "engine=torch"]):
        with patch.object(sys, "argv", ["nmt.serve", f"run={run}", "device=cpu", *words]):
            command.main()
    (one, _), (other, options) = found
    assert (one.name, one.decode.beam_size) == ("here", 2)
    assert (other.name, options.title) == ("Numbers", "Numbers")
    monkeypatch.undo()
    with serving(one) as client:
        answers = [client.get("/"), client.get("/health"), client.translate({"text": "one", "n_best": 9})]
    assert not [answer for answer in answers if str(run.parent).encode() in answer.body]


@pytest.mark.parametrize("engine", ["ensemble", "ctranslate2", "onnx"])
def test_ensembles_and_other_engines_are_served_as_they_are_loaded(engine, run, tmp_path, monkeypatch):
    served: list[Any] = []
    monkeypatch.setattr(server, "serve", lambda translator, options, say: served.append(translator))
    if engine == "ensemble":
        runs = [run, make_run(tmp_path / "other", MODELS["local_p"], seed=1)]
        words, loaded = [f"run=[{runs[0]},{runs[1]}]"], nmt.load(runs, device="cpu")
    else:
        pytest.importorskip("onnxruntime" if engine == "onnx" else engine)
        other = make_run(tmp_path / "transformer", MODELS["transformer"])
        words, loaded = [f"run={other}", f"engine={engine}"], nmt.load(other, device="cpu", engine=engine)
    monkeypatch.setattr(sys, "argv", ["nmt.serve", *words, "device=cpu", "threads=1"])
    command.main()
    monkeypatch.undo()
    texts = ["one two", "three"]
    with serving(served[0]) as client:
        answer = client.translate({"texts": texts})
    assert [found["translation"] for found in answer.tree["results"]] == loaded.translate(texts)


def test_an_address_that_is_taken_or_unknown_is_named():
    with server.listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"serve\.host=127\.0\.0\.1 serve\.port={port}: Address already in use"):
            server.listen("127.0.0.1", port)
    with pytest.raises(ConfigError, match=r"serve\.host=a\.\.b: no address has that name"):
        server.listen("a..b", 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_who_was_let_in_is_answered_before_it_stops(run, number):
    """And nobody is let in after the signal; the signal's handlers are then as they were."""
    translator, said, asking = translator_of(run), [], []
    gate, before = Gate(translator), [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]

    def ask_and_stop() -> None:
        until(lambda: said)
        client = Client(int(re.findall(r":(\d+)/", said[0])[0]))
        asking.append(Asking(client, {"text": "one"}))
        until(lambda: gate.batches)
        asking.append(Asking(client, {"texts": ["two", "three"]}))
        until(lambda: client.get("/health").tree["waiting"] == 2)
        os.kill(os.getpid(), number)
        until(lambda: refuses(client))
        gate.open.set()

    thread = threading.Thread(target=ask_and_stop)
    thread.start()
    server.serve(translator, ServeOptions(port=0), said.append)
    thread.join()
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before
    first, second = (one.answer() for one in asking)
    model = nmt.load(run, device="cpu")
    assert first.tree["translation"] == model.translate("one")
    assert [one["translation"] for one in second.tree["results"]] == model.translate(["two", "three"])
    assert said[0].startswith(f"{translator.name} is served at http://127.0.0.1:")
    assert said[1:] == ["stopped"]


def refuses(client: Client) -> bool:
    """Whether a new connection is refused."""
    try:
        client.get("/health")
    except ConnectionError:
        return True
    return False


def test_a_server_that_others_can_reach_says_so(run):
    """Its page then has any name."""
    translator, said = translator_of(run), []

    def stop() -> None:
        until(lambda: len(said) > 1)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    server.serve(translator, ServeOptions(host="0.0.0.0", port=0), said.append)
    thread.join()
    assert said[0] == server.WITHIN_REACH
    assert "http://0.0.0.0:" in said[1]


def test_the_page_needs_no_network_and_runs_its_own_script_alone(run):
    with serving(translator_of(run)) as client:
        answer = client.get("/")
    html, policy = answer.body.decode(), answer.headers["content-security-policy"]
    assert not re.search(r"(https?:)?//\w|src=|@import|url\(", html)
    assert policy.startswith("default-src 'none'; ")
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        [inside] = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
    assert not re.search(r"\son\w+=|\sstyle=|innerHTML|document\.write|\beval\b", html)
    assert "unsafe" not in policy


def test_the_title_is_text():
    html = page("<script>alert(1)</script> \"x\" 'y'", 'e"n', "d'e", 1, 5)
    assert html.count("<script>") == 1
    assert 'e"n' not in html
    assert "alert(1)&lt;/script&gt;" in html
    assert "alert" not in page_policy()
