"""Who gets in, and what no other site can make the console do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from console.conftest import TOKEN, csrf_of
from vaultak.errors import ConfigurationError
from vaultak_streams.console.accounts import Accounts, add_account
from vaultak_streams.console.operators import Role
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.sessions import COOKIE, Sessions

Console = Callable[..., TestClient]
PAUSE = {"agent_id": "billing-bot", "command": "pause", "reason": "r"}
PAGES = ["/", "/agent?id=billing-bot", "/incidents", "/search", "/acts", "/policy", "/health"]

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("path", [*PAGES, "/action?agent=a&id=b", "/agent/series?id=a", "/live"])
def test_nothing_is_shown_to_who_is_not_signed_in(console: Console, path: str) -> None:
    answer = console().get(path)
    assert answer.status_code in (303, 401)
    assert "billing-bot" not in answer.text


def test_the_token_lets_in_by_form_and_by_the_printed_address(console: Console) -> None:
    for client, enter in ((console(), "form"), (console(), "address")):
        if enter == "form":
            answer = client.post("/login", data={"secret": TOKEN, "next": "/incidents"})
            assert answer.headers["location"] == "/incidents"
        else:
            answer = client.get(f"/login?token={TOKEN}")
        assert answer.status_code == 303
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", "ü" * 30])
def test_a_wrong_token_does_not(console: Console, token: str) -> None:
    client = console()
    assert client.post("/login", data={"secret": token}).status_code == 403
    assert client.get("/").status_code == 303


def test_guessing_ends_after_a_few_attempts(console: Console) -> None:
    client = console()
    answers = [client.post("/login", data={"secret": f"guess {n}"}).status_code for n in range(10)]
    assert answers[:8] == [403] * 8
    assert answers[8:] == [429] * 2
    assert client.post("/login", data={"secret": TOKEN}).status_code == 429


@pytest.mark.parametrize(
    "wanted", ["//evil.example/", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "/a\r\nx: y"]
)
def test_signing_in_leads_nowhere_else(console: Console, wanted: str) -> None:
    assert console().post("/login", data={"secret": TOKEN, "next": wanted}).headers["location"] == "/"


@pytest.mark.parametrize("change", [lambda c: c[:-2] + "xx", lambda c: c.split(".")[0], lambda _c: "x" * 5000])
def test_a_forged_cookie_is_nobody(admin: TestClient, change: Callable[[str], str]) -> None:
    cookie = change(admin.cookies[COOKIE])
    admin.cookies.clear()
    assert admin.get("/", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 303


def test_a_session_that_was_ended_stays_ended(admin: TestClient) -> None:
    cookie, token = admin.cookies[COOKIE], csrf_of(admin)
    assert admin.post("/logout", data={"csrf": token}).status_code == 303
    assert admin.get("/", headers={"cookie": f"{COOKIE}={cookie}"}).status_code == 303


def test_ended_sessions_are_remembered_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vaultak_streams.console.sessions.MAX_ENDED", 3)
    sessions = Sessions(b"k")
    cookies = [sessions.begin(f"n{n}", Role.VIEWER, "token") for n in range(5)]
    for cookie in cookies:
        sessions.end(cookie)
    assert [sessions.read(cookie) is None for cookie in cookies] == [False, False, True, True, True]


@pytest.mark.parametrize("sent", ["", "0" * 64])
def test_a_form_without_its_token_does_nothing(admin: TestClient, sent: str) -> None:
    answer = admin.post("/act", data={**PAUSE, "csrf": sent})
    assert answer.status_code == 403
    assert "not from this session" in answer.text


def test_the_token_of_another_session_is_refused(console: Console) -> None:
    first, second = console(), console()
    for client in (first, second):
        client.post("/login", data={"secret": TOKEN})
    assert second.post("/act", data={**PAUSE, "csrf": csrf_of(first)}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"},
     {"sec-fetch-site": "same-site"}],
)  # fmt: skip
def test_a_form_sent_from_another_site_is_refused_even_with_its_token(
    admin: TestClient, headers: dict[str, str]
) -> None:
    assert admin.post("/act", data={**PAUSE, "csrf": csrf_of(admin)}, headers=headers).status_code == 403


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8700", "127.0.0.1.evil.example", ""])
def test_another_name_for_this_machine_is_refused(admin: TestClient, host: str) -> None:
    assert admin.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize("path", [*PAGES, "/login", "/static/console.css", "/nowhere"])
def test_every_answer_forbids_foreign_code_and_frames(admin: TestClient, path: str) -> None:
    headers = admin.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert path.startswith("/static/") or headers["cache-control"] == "no-store"


def test_an_endless_form_is_cut_off(admin: TestClient) -> None:
    assert admin.post("/act", data={"reason": "x" * 200_000}).status_code == 413


# -- accounts ------------------------------------------------------------------------------------------------------


@pytest.fixture
def users(tmp_path: Path) -> Path:
    path = tmp_path / "users"
    for name, role in (("vera", Role.VIEWER), ("omar", Role.OPERATOR), ("ada", Role.ADMIN)):
        add_account(path, name, role, f"password of {name}")
    return path


def test_accounts_sign_in_with_their_own_password(console: Console, users: Path) -> None:
    client = console(users_file=users)
    assert client.post("/login", data={"name": "vera", "secret": "password of omar"}).status_code == 403
    assert client.post("/login", data={"name": "nobody", "secret": "password of vera"}).status_code == 403
    assert client.post("/login", data={"name": "vera", "secret": TOKEN}).status_code == 403
    assert client.post("/login", data={"name": "vera", "secret": "password of vera"}).status_code == 303
    assert "viewer" in client.get("/").text


def test_who_is_removed_or_changed_is_so_at_once(console: Console, users: Path) -> None:
    client = console(users_file=users)
    client.post("/login", data={"name": "omar", "secret": "password of omar"})
    assert client.get("/act", params=PAUSE).status_code == 200
    users.write_text("".join(l.replace("omar:operator", "omar:viewer") for l in users.open()))  # noqa: E741
    assert client.get("/act", params=PAUSE).status_code == 403
    users.write_text("".join(line for line in users.open() if not line.startswith("omar:")))
    assert client.get("/").status_code == 303


def test_the_file_of_accounts_is_private_and_holds_no_password(users: Path) -> None:
    assert users.stat().st_mode & 0o077 == 0
    assert "password of" not in users.read_text()


EVERY = {"agent_id": "*", "command": "pause"}


@pytest.mark.parametrize(
    ("name", "one", "every"), [("vera", 403, 403), ("omar", 503, 403), ("ada", 503, 503)]
)  # fmt: skip
def test_a_role_may_do_what_it_is_for(console: Console, users: Path, name: str, one: int, every: int) -> None:
    """503: it would have been sent, had there been a broker."""
    client = console(users_file=users)
    client.post("/login", data={"name": name, "secret": f"password of {name}"})
    token = csrf_of(client)
    assert client.post("/act", data={**PAUSE, "csrf": token}).status_code == one
    assert client.post("/act", data={**EVERY, "csrf": token}).status_code == every
    assert client.get("/act", params=PAUSE).status_code == (200 if one == 503 else 403)
    page = client.get("/agent?id=support-agent").text
    assert ("data-act" in page) is (one == 503)
    assert client.get("/acts").status_code == 200


@pytest.mark.parametrize("name", ["", "a:b", "a\nb", "x" * 121, "../x", "a b"])
def test_a_name_that_would_break_the_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError):
        add_account(tmp_path / "users", name, Role.ADMIN, "long enough for this")


@pytest.mark.parametrize("line", ["ada:god:scrypt$1$1$1$a$b", "ada:admin:plain", "no colon"])
def test_a_broken_line_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "users").write_text(f"# accounts\n\n{line}\n")
    with pytest.raises(ConfigurationError, match="line 3"):
        Accounts(tmp_path / "users")


# -- a proxy that did OIDC -----------------------------------------------------------------------------------------

PROXIED = {
    "identity_header": "X-Forwarded-User",
    "groups_header": "X-Forwarded-Groups",
    "trusted_proxies": ("10.1.0.0/16",),
}


@pytest.mark.parametrize(
    ("groups", "role"),
    [("", "viewer"), ("staff", "viewer"), ("staff,vaultak-operator", "operator"), ("vaultak-admin", "admin")],
)
def test_a_trusted_proxy_says_who_it_is(console: Console, groups: str, role: str) -> None:
    client = console(**PROXIED, client=("10.1.2.3", 1))
    answer = client.get("/", headers={"x-forwarded-user": "ana@example.org", "x-forwarded-groups": groups})
    assert answer.status_code == 200
    assert f"ana@example.org <small>{role}</small>" in answer.text


@pytest.mark.parametrize("peer", ["10.2.0.1", "127.0.0.1", "testclient"])
def test_the_same_header_from_anybody_else_counts_for_nothing(console: Console, peer: str) -> None:
    client = console(**PROXIED, client=(peer, 1))
    assert (
        client.get("/", headers={"x-forwarded-user": "ana", "x-forwarded-groups": "vaultak-admin"}).status_code == 401
    )
    assert client.post("/login", data={"secret": TOKEN}).status_code == 403


# -- options -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"VAULTAK_CONSOLE_PORT": "x"}, "PORT"),
        ({"VAULTAK_CONSOLE_HOST": "0.0.0.0"}, "ALLOWED_HOSTS"),
        ({"VAULTAK_CONSOLE_IDENTITY_HEADER": "X-User"}, "TRUSTED_PROXIES"),
        ({"VAULTAK_CONSOLE_TRUSTED_PROXIES": "everyone"}, "TRUSTED_PROXIES"),
        ({"VAULTAK_CONSOLE_USERS": "/nowhere/users"}, "USERS"),
        ({"VAULTAK_CONSOLE_TOKEN": "short"}, "TOKEN"),
    ],
)
def test_an_unsafe_or_wrong_option_is_named(env: dict[str, str], names: str) -> None:
    with pytest.raises(ConfigurationError, match=names):
        ConsoleOptions.from_env(env)


def test_every_start_has_a_token_of_its_own() -> None:
    first, second = ConsoleOptions.from_env({}), ConsoleOptions.from_env({})
    assert first.loopback
    assert first.token != second.token
