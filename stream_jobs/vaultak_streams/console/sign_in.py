"""Signing in and out."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from vaultak_streams.console.accounts import Accounts
from vaultak_streams.console.gate import CSRF_FIELD, valid_form
from vaultak_streams.console.operators import MAX_NAME_CHARS, Role
from vaultak_streams.console.options import SESSION_LIFETIME_S, ConsoleOptions
from vaultak_streams.console.rendering import page
from vaultak_streams.console.sessions import COOKIE, Sessions

log = structlog.get_logger("vaultak.console")

MAX_FAILURES = 8
"""Wrong attempts from one address within `FAILURE_WINDOW_S`; then none is looked at."""

FAILURE_WINDOW_S = 300.0
MAX_ADDRESSES = 4096


class Attempts:
    """Wrong attempts per address, in bounded memory."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def allowed(self, address: str) -> bool:
        recent = [at for at in self._failures.get(address, []) if self._clock() - at < FAILURE_WINDOW_S]
        return len(recent) < MAX_FAILURES

    def failed(self, address: str) -> None:
        recent = [at for at in self._failures.pop(address, []) if self._clock() - at < FAILURE_WINDOW_S]
        self._failures[address] = [*recent, self._clock()][-MAX_FAILURES:]
        while len(self._failures) > MAX_ADDRESSES:
            self._failures.popitem(last=False)


class SignIn:
    """The routes `/login` and `/logout`."""

    def __init__(self, options: ConsoleOptions, sessions: Sessions, accounts: Accounts | None) -> None:
        self._options = options
        self._sessions = sessions
        self._accounts = accounts
        self._attempts = Attempts()
        self._hashing = asyncio.Lock()  # a hash takes 128 MiB: one at a time

    def routes(self) -> list[Route]:
        return [
            Route("/login", self.show, methods=["GET"]),
            Route("/login", self.enter, methods=["POST"]),
            Route("/logout", self.leave, methods=["POST"]),
        ]

    async def show(self, request: Request) -> Response:
        """The form; or, with the printed token in the address, straight in."""
        wanted = _local(request.query_params.get("next", "/"))
        if request.state.operator:
            return RedirectResponse(wanted, 303)
        if self._options.way_in == "token" and (token := request.query_params.get("token")):
            return await self._enter(request, "", token, wanted)
        return self._form(request, wanted)

    async def enter(self, request: Request) -> Response:
        form = await request.form()
        wanted = _local(str(form.get("next", "/")))
        return await self._enter(request, str(form.get("name", "")), str(form.get("secret", "")), wanted)

    async def leave(self, request: Request) -> Response:
        form = await request.form()
        if valid_form(request.state.operator, str(form.get(CSRF_FIELD, ""))):
            self._sessions.end(request.cookies.get(COOKIE, ""))
            log.info("signed out", operator=request.state.operator.name)
        response = RedirectResponse("/login", 303)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=self._options.secure_cookies)
        return response

    async def _enter(self, request: Request, name: str, secret: str, wanted: str) -> Response:
        address = request.client.host if request.client else "?"
        if not self._attempts.allowed(address):
            return self._form(request, wanted, "Too many wrong attempts. Wait a few minutes.", 429)
        found = await self._check(name.strip()[:MAX_NAME_CHARS], secret)
        if found is None:
            self._attempts.failed(address)
            log.warning("sign-in refused", name=name[:MAX_NAME_CHARS], address=address)
            what = "name or password" if self._accounts else "token"
            return self._form(request, wanted, f"That {what} is not right.", 403)
        who, role = found
        log.info("signed in", operator=who, role=role.value, address=address)
        response = RedirectResponse(wanted, 303)
        response.set_cookie(
            COOKIE,
            self._sessions.begin(who, role, self._options.way_in),
            max_age=SESSION_LIFETIME_S,
            httponly=True,
            samesite="strict",
            secure=self._options.secure_cookies,
        )
        return response

    async def _check(self, name: str, secret: str) -> tuple[str, Role] | None:
        if self._options.way_in == "header":
            return None
        if self._accounts is None:
            # Whoever can read the token can read the signing key of this machine's stack as well.
            matches = hmac.compare_digest(secret.encode(), self._options.token.encode())
            return ("local", Role.ADMIN) if matches else None
        async with self._hashing:
            account = await asyncio.to_thread(self._accounts.check, name, secret)
        return (account.name, account.role) if account else None

    def _form(self, request: Request, wanted: str, problem: str = "", status: int = 200) -> Response:
        return page(request, "login.html", status, way_in=self._options.way_in, wanted=wanted, problem=problem)


def _local(address: str) -> str:
    """An address of this console; anything else is its start."""
    safe = address.startswith("/") and not address.startswith(("//", "/\\")) and "\\" not in address
    return address if safe and address.isprintable() and len(address) < 1000 else "/"
