"""The server of nmt.serve in a thread, asked over a real socket, and a model that waits until a test lets it go on."""

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nmt.runs.ensemble import open_run
from nmt.serve.config import ServeOptions
from nmt.serve.server import listen, make_server
from nmt.translate.translator import Translator

PATIENCE = 60.0  # seconds, on a busy machine


class Answer(NamedTuple):
    """What the server sent."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def tree(self) -> Any:
        """The JSON in it."""
        return json.loads(self.body)


class Client:
    """Asks a server, with a connection for each request."""

    def __init__(self, port: int, server: Any = None) -> None:
        self.port, self.server = port, server

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """``body``: bytes, parts of a body of unknown length, or what is sent as JSON."""
        if not (body is None or isinstance(body, bytes) or hasattr(body, "__next__")):
            body = json.dumps(body).encode()
        sent = {"Content-Type": "application/json"} if body is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def translate(self, body: Any, **headers: str) -> Answer:
        return self.ask("POST", "/translate", body, **headers)


def translator_of(directory: Path, **decode: Any) -> Translator:
    """A Translator of a run, decoding as its config.yaml says but for ``decode``."""
    run = open_run(directory)
    for key, value in decode.items():
        setattr(run.config.decode, key, value)
    return Translator(run, run.config.decode, torch.device("cpu"))


@contextlib.contextmanager
def serving(translator: Translator, **options: Any) -> Iterator[Client]:
    """A server on a free port, and a client of it."""
    with listen("127.0.0.1", 0) as listening:
        server = make_server(translator, ServeOptions(**options), "127.0.0.1")
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            until(lambda: server.started)
            yield Client(listening.getsockname()[1], server)
        finally:
            server.should_exit = True
            thread.join()


def until(so: Callable[[], Any]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not so():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.005)


class Gate:
    """In the place of ``translator.hypotheses``: notes every batch, and holds it while the gate is closed."""

    def __init__(self, translator: Translator, closed: bool = True) -> None:
        self.real: Callable[..., Any] = translator.hypotheses
        self.batches: list[list[str]] = []
        self.open = threading.Event()
        if not closed:
            self.open.set()
        translator.hypotheses = self  # pyright: ignore[reportAttributeAccessIssue]

    def __call__(self, texts: list[str], **rest: Any) -> Any:
        self.batches.append(list(texts))
        assert self.open.wait(PATIENCE)
        return self.real(texts, **rest)


class Asking:
    """A request in a thread of its own; ``answer()`` waits for what comes."""

    def __init__(self, client: Client, body: Any) -> None:
        self.found: list[Answer | BaseException] = []
        self.thread = threading.Thread(target=self.ask, args=(client, body))
        self.thread.start()

    def ask(self, client: Client, body: Any) -> None:
        try:
            self.found.append(client.translate(body))
        except BaseException as error:
            self.found.append(error)

    def answer(self) -> Answer:
        self.thread.join(PATIENCE)
        [found] = self.found
        if isinstance(found, BaseException):
            raise found
        return found
