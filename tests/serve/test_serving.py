"""nmt.serve over a real socket: the answers are those of nmt.load, and what else is asked is refused with a reason."""

import json
import socket

import numpy as np
import pytest
from served import Asking, Gate, serving, translator_of, until
from tiny_runs import ENGLISH, MODELS, make_run

import nmt
from nmt.errors import UserError
from nmt.models import LSTMConfig
from nmt.models.attention import NoneConfig

HEAD = "POST /translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TEXTS = ["one two three", "", "a small dog , a big cat .", "ten nine", "\u00e9\U0001f600 two\nthree\x00"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    root = tmp_path_factory.mktemp("serve")
    without = LSTMConfig(attention=NoneConfig(), hidden_size=8, init_range=0.9)
    return {name: make_run(root / name, model) for name, model in {**MODELS, "without": without}.items()}


@pytest.fixture
def translator(runs):
    return translator_of(runs["local_p"])


@pytest.fixture(scope="module")
def small(runs):
    """A server that takes little."""
    translator = translator_of(runs["local_p"])
    gate = Gate(translator, closed=False)
    with serving(translator, max_texts=3, max_chars=30) as client:
        yield client, gate


@pytest.mark.parametrize("name", MODELS)
def test_translations_are_those_of_load(runs, name):
    """In fp32, of a text and of a list, whatever they are translated together with."""
    model = nmt.load(runs[name], device="cpu")
    with serving(translator_of(runs[name])) as client:
        found = client.translate({"texts": TEXTS}).tree["results"]
        assert [one["translation"] for one in found] == model.translate(TEXTS)
        for text in TEXTS:
            assert client.translate({"text": text}).tree["translation"] == model.translate(text)


def test_as_many_hypotheses_as_asked_for(runs, translator):
    model = nmt.load(runs["local_p"], device="cpu")
    with serving(translator) as client:
        for n_best in (1, 3, 5, 2):
            model.decode.n_best = n_best
            for text in TEXTS:
                wanted = model.hypotheses(text)
                found = client.translate({"text": text, "n_best": n_best}).tree["hypotheses"]
                assert [h["text"] for h in found] == [h.text for h in wanted]
                assert [h["finished"] for h in found] == [h.finished for h in wanted]
                for key in ("score", "log_prob"):
                    np.testing.assert_allclose([h[key] for h in found], [getattr(h, key) for h in wanted], rtol=1e-5)


def test_requests_that_want_different_numbers_share_a_batch(runs, translator):
    gate = Gate(translator)
    model = nmt.load(runs["local_p"], device="cpu")
    with serving(translator) as client:
        first = Asking(client, {"text": "one"})
        until(lambda: gate.batches)
        asking = [Asking(client, {"text": "one two", "n_best": n}) for n in (1, 2, 1, 4)]
        until(lambda: client.get("/health").tree["waiting"] == 4)
        gate.open.set()
        assert first.answer().status == 200
        for n, one in zip((1, 2, 1, 4), asking, strict=True):
            model.decode.n_best = n
            assert [h["text"] for h in one.answer().tree["hypotheses"]] == [h.text for h in model.hypotheses("one two")]
    assert sorted(map(len, gate.batches)) == [1, 1, 1, 2]


def test_what_comes_while_the_model_is_busy_is_translated_together(runs, translator):
    """Everybody gets the translation of their own text."""
    gate, texts = Gate(translator), [" ".join(ENGLISH[0].split()[:n]) for n in range(1, 11)]
    wanted = dict(zip(texts, nmt.load(runs["local_p"], device="cpu").translate(texts), strict=True))
    with serving(translator) as client:
        first = Asking(client, {"text": texts[0]})
        until(lambda: gate.batches)
        others = [Asking(client, {"text": text}) for text in texts[1:]]
        until(lambda: client.get("/health").tree["waiting"] == len(others))
        gate.open.set()
        assert first.answer().tree["translation"] == wanted[texts[0]]
        for text, one in zip(texts[1:], others, strict=True):
            assert one.answer().tree["translation"] == wanted[text]
    assert [len(batch) for batch in gate.batches] == [1, len(others)]


def test_an_idle_model_waits_for_a_full_batch(translator):
    gate = Gate(translator, closed=False)
    with serving(translator, max_batch=3, wait_ms=10_000) as client:
        asking = [Asking(client, {"text": text}) for text in ("one", "two", "three")]
        assert [one.answer().status for one in asking] == [200] * 3
    assert [sorted(batch) for batch in gate.batches] == [["one", "three", "two"]]


def test_health_is_answered_while_the_model_is_busy(translator):
    gate = Gate(translator)
    with serving(translator) as client:
        asking = Asking(client, {"text": "one"})
        until(lambda: gate.batches)
        expected = {"status": "ok", "run": translator.name, "source": "en", "target": "de", "waiting": 0}
        assert client.get("/health").tree == expected
        assert not asking.found
        gate.open.set()
        assert asking.answer().status == 200


@pytest.mark.parametrize("name", ["local_p", "transformer"])
def test_attention_is_that_of_load(runs, name):
    wanted = nmt.load(runs[name], device="cpu").attention("one two three")
    with serving(translator_of(runs[name])) as client:
        found = client.translate({"text": "one two three", "attention": True}).tree["attention"]
    assert (found["source"], found["target"]) == (wanted.source, wanted.target)
    np.testing.assert_allclose(found["weights"], wanted.weights, atol=6e-4)
    assert found["half_width"] == wanted.half_width
    if wanted.centre is not None:
        np.testing.assert_allclose(found["centre"], wanted.centre, atol=6e-4)


def test_where_there_is_no_attention_it_says_why(runs):
    """The translation comes all the same."""
    long = " ".join(["one"] * 300)
    for name, text, why in (
        ("without", "one", "has no attention"),
        ("local_p", "one " * 10, "more than 30 characters"),
        ("local_p", " ", "blank"),
    ):
        with serving(translator_of(runs[name]), attention_chars=30) as client:
            found = client.translate({"text": text, "attention": True}).tree
        assert found["attention"] is None
        assert why in found["warnings"][-1]
        assert bool(found["translation"]) == bool(text.strip())
    with serving(translator_of(runs["local_p"]), attention_chars=10_000) as client:
        found = client.translate({"text": long, "attention": True}).tree
    assert "parts" in found["warnings"][0]
    assert found["warnings"][1] == "no attention: the text is translated in parts"
    said: list[str] = []
    [wanted] = nmt.load(runs["local_p"], device="cpu").hypotheses(long, warn=lambda i, message: said.append(message))
    assert (found["translation"], found["warnings"][0]) == (wanted.text, said[0])


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "the body is no JSON: Expecting value"),
        (b"{", 400, "the body is no JSON"),
        (b'{"text": "\xff"}', 400, "not UTF-8 (byte 10)"),
        (b"[" * 2000 + b"]" * 2000, 400, "the body is no JSON"),  # how deep Python reads depends on its version,
        (b'{"text": "a", "n_best": 1' + b"0" * 4350 + b"}", 400, "the body is no JSON"),
        ([], 400, "no JSON object"),
        ({}, 400, "one of text and texts is needed"),
        ({"text": "one", "texts": []}, 400, "one of text and texts is needed"),
        ({"text": 1}, 400, "text must be a text, got 1"),
        ({"text": None}, 400, "text must be a text, got null"),
        ({"texts": "one"}, 400, 'texts must be a list, got "one"'),
        ({"texts": ["one", 2]}, 400, "texts[1] must be a text, got 2"),
        (b'{"text": "a\\ud800b"}', 400, "text has half of a surrogate pair"),
        ({"text": "one", "beam": 3}, 400, "unknown key 'beam'; there are text, texts, n_best, attention"),
        ({"text": "one", "n_best": 6}, 400, "n_best must be a whole number from 1 to 5, got 6"),
        ({"text": "one", "n_best": 0}, 400, "got 0"),
        ({"text": "one", "n_best": True}, 400, "got true"),
        ({"text": "one", "n_best": 1.5}, 400, "got 1.5"),
        ({"text": "one", "attention": "yes"}, 400, 'attention must be true or false, got "yes"'),
        ({"texts": ["one"] * 4}, 413, "4 texts are too many; at most 3 a request"),
        ({"texts": ["o" * 15, "n" * 16]}, 413, "31 characters are too many; at most 30 a request"),
        (b" " * 10_000, 413, "the body has more than 4,468 bytes"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_request_is_refused_with_a_reason(small, body, status, message):
    client, gate = small
    answer = client.translate(body)
    assert answer.status == status
    assert message in answer.tree["error"]
    if isinstance(body, bytes):  # of a length that is not known before
        parts = (body[at : at + 1000] for at in range(0, len(body), 1000))
        assert client.translate(parts).tree["error"] == answer.tree["error"]
    assert not gate.batches


def test_characters_may_be_escaped(translator):
    """As JSON may write them, in twelve bytes each, the size of a body is no reason to refuse it."""
    with serving(translator, max_chars=1000) as client:
        body = ('{"text": "' + "\\ud83d\\ude00" * 1000 + '"}').encode()
        assert client.translate(body).status == 200


def test_no_texts_have_no_translations(translator):
    with serving(translator) as client:
        assert client.translate({"texts": []}).tree == {"results": []}


def test_only_json_is_read_and_no_other_site_may_ask(translator):
    """A browser sends JSON to another site only after it has asked, by OPTIONS, and nobody is told that they may."""
    with serving(translator) as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
            answer = client.translate({"text": "one"}, Content_Type=kind)
            assert answer.status == 415
        assert client.translate({"text": "one"}, Content_Type="Application/JSON; charset=utf-8").status == 200
        asked = client.ask("OPTIONS", "/translate", Origin="http://a.example", Access_Control_Request_Method="POST")
        assert asked.status == 405
        answers = [asked, client.translate({"text": "one"}, Origin="http://a.example"), client.get("/")]
        assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


def test_other_paths_and_methods_are_refused_in_json(translator):
    with serving(translator) as client:
        assert (client.get("/nothing").status, client.get("/nothing").tree) == (
            404,
            {"error": "Not Found: GET /nothing"},
        )
        answer = client.get("/translate")
        assert (answer.status, answer.headers["allow"]) == (405, "POST")
        assert "Method Not Allowed" in answer.tree["error"]


def test_a_page_elsewhere_cannot_take_the_servers_name(translator):
    """DNS rebinding: the name of another site points to this computer, and its pages ask the server."""
    with serving(translator) as client:
        for name in ("localhost", "localhost:8000", "LOCALHOST.", "127.0.0.1", "[::1]:80", f"127.0.0.1:{client.port}"):
            assert client.get("/health", Host=name).status == 200, name
        for name in (
            "evil.example",
            "evil.example:80",
            "localhost.evil.example",
            "127.0.0.2",
            "localhost:x",
            "::1",
            "",
        ):
            for path in ("/", "/health"):
                answer = client.get(path, Host=name)
                assert answer.status == 421, name
                assert "serve.names" in answer.tree["error"]
    with serving(translator, names=["Translate.example"]) as client:
        assert client.get("/", Host="translate.example").status == 200
        assert client.get("/", Host="localhost").status == 421


def test_a_client_who_asks_too_often_is_told_when_to_come_again(translator):
    with serving(translator, per_minute=2) as client:
        assert [client.translate({"text": "one"}).status for _ in range(3)] == [200, 200, 429]
        answer = client.translate({"text": "one"}, X_Forwarded_For="10.0.0.7")
        assert answer.status == 429
        assert answer.tree["error"] == f"at most 2 requests a minute; come again in {answer.headers['retry-after']} s"
        assert 20 <= int(answer.headers["retry-after"]) <= 30
        assert client.get("/health").status == 200
    with serving(translator, per_minute=1, proxies=["127.0.0.1"]) as client:
        asked = [client.translate({"text": "one"}, X_Forwarded_For=f"10.0.0.{n}").status for n in (7, 8, 7)]
        assert asked == [200, 200, 429]


def test_when_too_many_wait_the_next_are_turned_away(translator):
    gate = Gate(translator)
    with serving(translator, max_waiting=3, max_texts=3, per_minute=None) as client:
        first = Asking(client, {"text": "one"})
        until(lambda: gate.batches)
        waiting = Asking(client, {"texts": ["two", "three"]})
        until(lambda: client.get("/health").tree["waiting"] == 2)
        answer = client.translate({"texts": ["four", "five"]})
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert "too busy: 3 texts may wait" in answer.tree["error"]
        last = Asking(client, {"text": "six"})
        until(lambda: client.get("/health").tree["waiting"] == 3)
        gate.open.set()
        assert [one.answer().status for one in (first, waiting, last)] == [200] * 3


def test_a_body_that_does_not_come_is_not_waited_for(translator):
    with serving(translator, read_seconds=0.2) as client, socket.create_connection(("127.0.0.1", client.port)) as slow:
        slow.sendall(f"{HEAD}Content-Length: 99\r\n\r\n{{".encode())
        answer = b""
        while b"seconds" not in answer:
            part = slow.recv(4096)
            assert part
            answer += part
        assert b" 408 " in answer.splitlines()[0]


def test_texts_of_a_client_who_hangs_up_are_not_translated(translator):
    gate, body = Gate(translator), json.dumps({"texts": ["two", "three"]})
    with serving(translator) as client:
        first = Asking(client, {"text": "one"})
        until(lambda: gate.batches)
        with socket.create_connection(("127.0.0.1", client.port)) as gone:
            gone.sendall(f"{HEAD}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            until(lambda: client.get("/health").tree["waiting"] == 2)
        until(lambda: client.get("/health").tree["waiting"] == 0)
        gate.open.set()
        assert first.answer().status == 200
        assert client.translate({"text": "four"}).status == 200
    assert gate.batches == [["one"], ["four"]]


@pytest.mark.parametrize(
    "error", [UserError("the probabilities are not finite"), RuntimeError("a fault"), MemoryError()]
)
def test_a_text_that_fails_takes_no_other_with_it(runs, translator, error):
    """The others of its batch are translated; the one who sent it is told, without the inside of the program."""
    gate, real = Gate(translator), translator.hypotheses.real  # pyright: ignore[reportFunctionMemberAccess]

    def fails(texts, **rest):
        if "two" in texts:
            raise error
        return real(texts, **rest)

    gate.real = fails
    with serving(translator) as client:
        first = Asking(client, {"text": "one"})
        until(lambda: gate.batches)
        asking = {text: Asking(client, {"text": text}) for text in ("three", "two", "four")}
        until(lambda: client.get("/health").tree["waiting"] == 3)
        gate.open.set()
        assert first.answer().status == 200
        model = nmt.load(runs["local_p"], device="cpu")
        for text in ("three", "four"):
            assert asking[text].answer().tree["translation"] == model.translate(text)
        failed = asking["two"].answer()
        assert failed.status == 500
        told = "cannot translate: the probabilities" if isinstance(error, UserError) else "a fault of the server"
        assert failed.tree["error"].startswith(told)
        assert client.get("/health").tree["status"] == "ok"
