"""The application: paths, limits and answers, all of them JSON but the page."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from nmt.errors import UserError
from nmt.serve.answers import Answers
from nmt.serve.batching import Batcher, FullError
from nmt.serve.config import ServeOptions
from nmt.serve.limits import RateLimit, host_name
from nmt.serve.page import page, page_policy
from nmt.serve.requests import RefusedError, most_bytes, read_request
from nmt.translate.translator import Translator

LOG = logging.getLogger("uvicorn.error")
# Nothing is kept by a browser, taken for something else, or shown inside a page of somebody else.
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


class Served(NamedTuple):
    """What is served: shown on the page and told by /health."""

    name: str
    source: str  # languages
    target: str
    n_best: int  # translations unless a request says how many
    most: int  # that it may ask for


class Service:
    """The handlers of all paths."""

    def __init__(self, served: Served, answers: Answers, options: ServeOptions) -> None:
        self.served, self.answers, self.options = served, answers, options
        self.rate = RateLimit(options.per_minute)
        self.html = page(served.name, served.source, served.target, served.n_best, served.most)
        self.batcher: Batcher

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """The thread that translates works from start to end."""
        self.batcher = Batcher(self.answers, self.options)
        try:
            yield
        finally:
            await self.batcher.close()

    async def show(self, request: Request) -> Response:
        """GET /: the page."""
        return HTMLResponse(self.html, headers={**HEADERS, "Content-Security-Policy": page_policy()})

    async def health(self, request: Request) -> Response:
        """GET /health: 200 as long as texts are translated."""
        served, alive = self.served, self.batcher.alive()
        told = {"status": "ok" if alive else "failed", "run": served.name}
        told |= {"source": served.source, "target": served.target, "waiting": len(self.batcher.waiting)}
        return JSONResponse(told, 200 if alive else 503, HEADERS)

    async def translate(self, request: Request) -> Response:
        """POST /translate."""
        wait = self.rate.wait(request.client.host if request.client else "")
        if wait:
            seconds = math.ceil(wait)
            most = f"at most {self.options.per_minute:,} requests a minute"
            raise RefusedError(429, f"{most}; come again in {seconds} s", seconds)
        body = await self.body(request)
        asked = read_request(body, self.options, self.served.n_best, self.served.most)
        try:
            found = await unless_gone(request, self.batcher.submit(asked.texts, asked.n_best, asked.attention))
        except FullError:
            most = f"{self.options.max_waiting:,} texts"
            raise RefusedError(503, f"too busy: {most} may wait, and there is no room; come again later", 1) from None
        except UserError as error:
            LOG.error("cannot translate: %s", error)
            raise RefusedError(500, f"cannot translate: {error}") from error
        text = f'{{"results": [{", ".join(found)}]}}' if asked.listed else found[0]
        return Response(text, media_type="application/json", headers=HEADERS)

    async def body(self, request: Request) -> bytes:
        """The body of a request; raises RefusedError for one of another type, too large or too slow."""
        # A page of another site cannot send this type without asking first (CORS), and is refused then.
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "the body must be JSON: send Content-Type: application/json")
        most = most_bytes(self.options)
        too_large = RefusedError(413, f"the body has more than {most:,} bytes")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            raise too_large
        found = bytearray()
        try:
            async with asyncio.timeout(self.options.read_seconds):
                async for part in request.stream():
                    found += part
                    if len(found) > most:
                        raise too_large
        except TimeoutError:
            raise RefusedError(408, f"the body did not arrive in {self.options.read_seconds:g} seconds") from None
        return bytes(found)


async def unless_gone(request: Request, work: Awaitable[list[str]]) -> list[str]:
    """What ``work`` gives; raises ClientDisconnect, and cancels it, when the client hangs up before."""

    async def hung_up() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, gone = asyncio.ensure_future(work), asyncio.ensure_future(hung_up())
    try:
        await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        gone.cancel()
        if working.cancel():
            await asyncio.wait((working,))


class KnownNames:
    """Refuses requests that call the server by a name which is not one of ``names``; None: any."""

    def __init__(self, app: ASGIApp, names: set[str] | None) -> None:
        self.app, self.names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.names is not None and scope["type"] == "http":
            given = [value.decode("latin-1") for key, value in scope["headers"] if key == b"host"]
            if len(given) != 1 or host_name(given[0]) not in self.names:
                refused = RefusedError(421, "this server is not called that; serve.names=[NAME] says what it is called")
                await refusal(refused)(scope, receive, send)
                return
        await self.app(scope, receive, send)


def refusal(refused: RefusedError) -> Response:
    """A refused request's answer."""
    headers = dict(HEADERS)
    if refused.retry_after is not None:
        headers["Retry-After"] = str(refused.retry_after)
    return JSONResponse({"error": refused.message}, refused.status, headers)


def explained(request: Request, error: Exception) -> Response:
    """The answer where something was raised."""
    if isinstance(error, RefusedError):
        return refusal(error)
    if isinstance(error, ClientDisconnect):
        return Response(status_code=400)  # nobody reads it
    if isinstance(error, HTTPException):
        answer = refusal(RefusedError(error.status_code, f"{error.detail}: {request.method} {request.url.path}"))
        answer.headers.update(error.headers or {})
        return answer
    return refusal(RefusedError(500, "a fault of the server, which its log explains"))


def make_app(served: Served, translator: Translator, options: ServeOptions, names: set[str] | None) -> Starlette:
    """The application, for a server that runs its lifespan; ``names``: see ``KnownNames``."""
    service = Service(served, Answers(translator, options.attention_chars), options)
    handlers: dict[Any, Callable[[Request, Exception], Response]] = dict.fromkeys(
        (RefusedError, ClientDisconnect, HTTPException, Exception), explained
    )
    return Starlette(
        routes=[
            Route("/", service.show),
            Route("/health", service.health),
            Route("/translate", service.translate, methods=["POST"]),
        ],
        middleware=[Middleware(KnownNames, names=names)],
        exception_handlers=handlers,
        lifespan=service.lifespan,
    )
