"""The console, assembled: routes behind the gate, errors as pages."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from vaultak_streams.console.accounts import Accounts
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.gate import Gate
from vaultak_streams.console.live import Live
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.pages import acts, agent, fleet, health, incidents, policy, search
from vaultak_streams.console.rendering import HERE, page
from vaultak_streams.console.sessions import Sessions
from vaultak_streams.console.sign_in import SignIn
from vaultak_streams.store.errors import StoreError

PAGES = (fleet, agent, incidents, search, acts, policy, health)

log = structlog.get_logger("vaultak.console")


def build(desk: Desk, options: ConsoleOptions, secret: bytes) -> Starlette:
    """The ASGI application. `secret` signs the sessions."""
    sessions = Sessions(secret)
    accounts = Accounts(options.users_file) if options.users_file and not options.identity_header else None

    live = Live(lambda: fleet.live_fragment(desk))

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        yield
        await live.close()
        desk.reader.close()

    return Starlette(
        routes=[
            Route("/healthz", _healthy),
            Mount("/static", StaticFiles(directory=HERE / "static")),
            *SignIn(options, sessions, accounts).routes(),
            *live.routes(),
            *(route for module in PAGES for route in module.routes(desk)),
        ],
        middleware=[Middleware(Gate, options=options, sessions=sessions, accounts=accounts)],
        exception_handlers={HTTPException: _refused, StoreError: _store_away},
        lifespan=lifespan,
    )


async def _healthy(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if getattr(request.state, "operator", None) is None:
        return PlainTextResponse(f"{error.detail}\n", error.status_code)
    return page(request, "error.html", error.status_code, title=error.detail, detail="")


async def _store_away(request: Request, error: Exception) -> Response:
    log.warning("the store did not answer", error=str(error))
    return page(request, "error.html", 503, title="The audit store does not answer", detail=str(error))
