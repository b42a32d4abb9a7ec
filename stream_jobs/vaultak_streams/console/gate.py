"""What every request passes: the host it names, who it is from, where its form came from; what every answer says."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vaultak_streams.console.accounts import Accounts
from vaultak_streams.console.operators import MAX_NAME_CHARS, Operator, Role
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.sessions import COOKIE, Sessions

CSRF_FIELD = "csrf"
MAX_BODY_BYTES = 64 * 1024
MAX_COOKIE_CHARS = 2048

OPEN_PATHS = ("/login", "/static/", "/healthz")
"""What may be asked for without a session."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",  # with `no-referrer`, browsers send our own forms without their origin
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Gate:
    """ASGI middleware. Behind it, `request.state.operator` is an `Operator`, or `None` on the open paths."""

    def __init__(self, app: ASGIApp, *, options: ConsoleOptions, sessions: Sessions, accounts: Accounts | None) -> None:
        self._app = app
        self._options = options
        self._sessions = sessions
        self._accounts = accounts
        self._proxies = [ipaddress.ip_network(network) for network in options.trusted_proxies]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                _add_headers(MutableHeaders(scope=message), request.url.path)
            await send(message)

        if refused := self._refuse(request, scope):
            await refused(scope, receive, send_with_headers)
        else:
            await self._app(scope, _bounded(receive), send_with_headers)

    def _refuse(self, request: Request, scope: Scope) -> Response | None:
        """The answer to a request that does not pass; for one that does, its state is set."""
        if not self._host_is_ours(request):
            return PlainTextResponse("this console is not served under that host name\n", 421)
        if int(_number(request.headers.get("content-length"))) > MAX_BODY_BYTES:
            return PlainTextResponse("too large\n", 413)
        operator = self.operator_of(request)
        scope.setdefault("state", {})["operator"] = operator
        path = request.url.path
        is_open = any(path == one or (one.endswith("/") and path.startswith(one)) for one in OPEN_PATHS)
        if operator is None and not is_open:
            return self._sign_in_first(request)
        if request.method not in ("GET", "HEAD") and not _same_origin(request):
            return PlainTextResponse("this form was sent from another site\n", 403)
        return None

    def operator_of(self, request: Request) -> Operator | None:
        """Who sent it."""
        if self._options.identity_header:
            return self._from_proxy(request)
        cookie = request.cookies.get(COOKIE, "")
        operator = self._sessions.read(cookie) if 0 < len(cookie) <= MAX_COOKIE_CHARS else None
        if operator is None or operator.via != self._options.way_in:
            return None
        if self._accounts is not None:
            role = self._accounts.role_of(operator.name)
            return None if role is None else Operator(name=operator.name, role=role, via="password", csrf=operator.csrf)
        return operator

    def _from_proxy(self, request: Request) -> Operator | None:
        peer = request.client.host if request.client else ""
        try:
            trusted = any(ipaddress.ip_address(peer) in network for network in self._proxies)
        except ValueError:
            return None
        name = request.headers.get(self._options.identity_header, "").strip()
        if not trusted or not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
            return None
        csrf = self._sessions.csrf(f"header:{name}")
        return Operator(name=name, role=_role(self._options, request.headers), via="header", csrf=csrf)

    def _host_is_ours(self, request: Request) -> bool:
        """Against DNS rebinding: a page elsewhere whose name suddenly means this machine."""
        host = urlsplit("//" + request.headers.get("host", "")).hostname or ""
        if host in self._options.allowed_hosts:
            return True
        return self._options.loopback and host in ("127.0.0.1", "localhost", "::1", self._options.host)

    def _sign_in_first(self, request: Request) -> Response:
        if self._options.identity_header:
            return PlainTextResponse("sign in at the proxy in front of this console\n", 401)
        if request.headers.get("hx-request"):
            return Response(status_code=401, headers={"hx-redirect": "/login"})
        if request.method != "GET" or request.url.path == "/live":
            return PlainTextResponse("signed out\n", 401)
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(wanted)}" if wanted != "/" else "/login", 303)


def valid_form(operator: Operator | None, sent: str) -> bool:
    """Whether a form's token is the one its session was given."""
    return operator is not None and hmac.compare_digest(operator.csrf.encode(), sent.encode())


def _role(options: ConsoleOptions, headers: Mapping[str, str]) -> Role:
    groups = {group.strip() for group in headers.get(options.groups_header, "").split(",")}
    for role in (Role.ADMIN, Role.OPERATOR):
        if options.groups_header and f"vaultak-{role}" in groups:
            return role
    return Role.VIEWER


def _same_origin(request: Request) -> bool:
    """Browsers say where a form comes from; those too old to say are held by the token alone."""
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def _add_headers(headers: MutableHeaders, path: str) -> None:
    for name, value in HEADERS.items():
        headers[name] = value
    if not path.startswith("/static/"):
        headers["cache-control"] = "no-store"


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() and len(text) < 16 else 0


def _bounded(receive: Receive) -> Receive:
    """Ends a body that is longer than it may be, whatever its header said."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b"")) if message["type"] == "http.request" else 0
        return {"type": "http.disconnect"} if received > MAX_BODY_BYTES else message

    return bounded
