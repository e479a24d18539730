"""Listening, answering, and stopping so that nobody who was let in leaves without an answer."""

import signal
import socket
from collections.abc import Callable

import uvicorn

from nmt.errors import ConfigError, refusal
from nmt.serve.app import Served, make_app
from nmt.serve.config import ServeOptions
from nmt.serve.limits import allowed_names, is_loopback
from nmt.translate.translator import Translator

WITHIN_REACH = (
    "other computers can reach this server: there is no password and no encryption; serve.host=127.0.0.1 keeps it here"
)


def serve(translator: Translator, options: ServeOptions, say: Callable[[str], object]) -> None:
    """Answer requests until SIGTERM or Ctrl-C, then those that were begun; a second Ctrl-C ends at once.

    ``say`` is called with a line when the server can be reached, and with what else somebody should know.

    Raises ConfigError where the address cannot be listened on.
    """
    with listen(options.host, options.port) as listening:
        address, port = listening.getsockname()[:2]
        server = make_server(translator, options, address)

        def stop(number: int, frame: object) -> None:
            server.should_exit = True

        # The server has handlers of its own while it runs.  It raises the signal again when everything is answered,
        # for these, which make that the end and no death by a signal.
        before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            if not is_loopback(address):
                say(WITHIN_REACH)
            shown = f"[{address}]" if ":" in address else address
            say(f"{translator.name} is served at http://{shown}:{port}/ (Ctrl-C stops)")
            server.run(sockets=[listening])
            say("stopped")
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_server(translator: Translator, options: ServeOptions, address: str) -> uvicorn.Server:
    """The server for a socket that listens at an address."""
    decode, spoken = translator.decode, (translator.source_language, translator.language)
    served = Served(translator.name, *spoken, decode.n_best, decode.candidates)
    config = uvicorn.Config(
        make_app(served, translator, options, allowed_names(options.names, address)),
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="on",
        log_level="warning",
        server_header=False,
        proxy_headers=bool(options.proxies),
        forwarded_allow_ips=options.proxies,
        timeout_graceful_shutdown=options.stop_seconds,
    )
    return uvicorn.Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at host and port; raises ConfigError, naming the key, where none can."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"serve.host={host}: no address has that name ({error})") from None
    family, address = found[0][0], found[0][4]
    try:
        # On POSIX an address that another process listened on lately is free (SO_REUSEADDR).
        return socket.create_server(address[:2], family=family, backlog=2048)
    except OSError as error:
        reason = f"serve.host={host} serve.port={port}: {refusal(error)}"
        raise ConfigError(f"{reason}; another serve.port, or serve.port=0 for a free one, may help") from None
