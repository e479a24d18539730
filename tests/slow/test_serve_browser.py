"""The page of nmt.serve in a real browser, and the command in a process of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, chromium, element
from served import Client, Gate, serving, translator_of
from tiny_runs import MODELS, make_run

import nmt

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
HOSTILE = "two <img src=x onerror=\"document.title='taken'\"> </script><script>document.title='taken'</script> dogs"
ENTER, CTRL = 13, 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("serve") / "run", MODELS["transformer"])


@pytest.fixture
def browser(tmp_path):
    if chromium() is None:
        pytest.skip("needs Chromium")
    with Browser(tmp_path / "profile") as browser:
        yield browser


def test_one_types_sentences_and_sees_translations_and_attention(run, browser):
    """As text, whatever was typed; the page asks its own server alone, and the browser has nothing to complain of."""
    model, lines = nmt.load(run, device="cpu"), ["one two three", HOSTILE]
    with serving(translator_of(run)) as client:
        address = f"http://127.0.0.1:{client.port}/"
        browser.open(address)
        browser.type("\n".join([lines[0], "", lines[1]]))  # what is to be typed in has the focus
        browser.run(f"{element('input')}.value = 3")
        browser.press("Enter", ENTER, CTRL)
        browser.until("document.querySelectorAll('article').length === 2")
        title, status = browser.run("document.title"), browser.run(f"{element('#status')}.textContent")
        assert (title, status) == (translator_of(run).name, "")
        model.decode.n_best = 3
        for number, line in enumerate(lines, 1):
            article = f"article:nth-of-type({number})"
            assert browser.run(f"{element(article + ' h2')}.textContent") == line
            found = model.hypotheses(line)
            assert browser.run(f"{element(article + ' .translation')}.textContent") == found[0].text
            listed = browser.run(
                f"[...document.querySelectorAll('{article} li span:first-child')].map(e => e.textContent)"
            )
            assert listed == [h.text for h in found]
        assert browser.run("document.querySelectorAll('article img, article script').length") == 0
        maps = model.attention(lines[0], model.hypotheses(lines[0])[0].text)
        shown = "[...document.querySelectorAll('article:nth-of-type(1) .{} span')].map(e => e.{})"
        assert browser.run(shown.format("source", "textContent")) == maps.source
        assert browser.run(shown.format("target", "textContent")) == maps.target
        for token in (2, 0, 1):
            browser.point(f"article:nth-of-type(1) .target span:nth-child({token + 1})")
            browser.until(f"{element(f'article .target span:nth-child({token + 1})')}.classList.contains('on')")
            weights = [float(w) for w in browser.run(shown.format("source", "title"))]
            np.testing.assert_allclose(weights, maps.weights.mean((0, 1))[token], atol=2e-3)
        browser.run("(s => { s.value = '1'; s.dispatchEvent(new Event('change')); })(document.querySelector('select'))")
        weights = [float(w) for w in browser.run(shown.format("source", "title"))]
        np.testing.assert_allclose(weights, maps.weights[1].mean(0)[1], atol=2e-3)
        assert browser.requested() == [address, f"{address}translate"]
        assert browser.complaints() == []


def test_what_is_refused_is_said_on_the_page_and_nothing_typed_is_lost(run, browser):
    with serving(translator_of(run), max_chars=20) as client:
        browser.open(f"http://127.0.0.1:{client.port}/")
        browser.type("one two three four five six")
        browser.run(f"{element('button')}.click()")
        said = browser.until(f"{element('#status.failed')}?.textContent")
        assert said == "27 characters are too many; at most 20 a request"
        assert browser.run(f"{element('textarea')}.value") == "one two three four five six"
        client.server.should_exit = True
        browser.until("fetch('health').then(() => false, () => true)")
        browser.run(f"{element('button')}.click()")
        browser.until(f"{element('#status')}.textContent.includes('fetch')")


def test_another_page_cannot_use_the_server(run, browser):
    """A page of another origin gets no answer, and nothing it sends is translated."""
    translator = translator_of(run)
    gate = Gate(translator, closed=False)
    with serving(translator, names=["localhost"]) as client, serving(translator_of(run)) as other:
        browser.open(f"http://127.0.0.1:{other.port}/health")  # a page without a policy of its own
        for kind in ("application/json", "text/plain"):
            ask = f"{{method: 'POST', headers: {{'Content-Type': '{kind}'}}, body: '{{\"text\": \"one\"}}'}}"
            code = f"fetch('http://localhost:{client.port}/translate', {ask}).then(r => 'read', e => 'failed')"
            assert browser.run(code) == "failed"
        assert client.translate({"text": "two"}, Host="localhost").status == 200
    assert gate.batches == [["two"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_starts_answers_and_stops(run, number):
    command = [sys.executable, "-m", "nmt.serve", f"run={run}", "serve.port=0", "device=cpu"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()
        assert first.startswith("run is served at http://127.0.0.1:")
        client = Client(int(re.findall(r":(\d+)/", first)[0]))
        answer = client.translate({"text": "one two"})
        assert answer.tree["translation"] == nmt.load(run, device="cpu").translate("one two")
        process.send_signal(number)
        _, rest = process.communicate(timeout=60)
    assert (process.returncode, rest) == (0, "stopped\n")
