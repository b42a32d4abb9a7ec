"""The console in a real browser: every page in both themes and two widths, keys, and acts on a running agent.

Needs Chromium (`chromium` on the path). `VAULTAK_SCREENSHOTS` names a directory for pictures of every page.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import uvicorn

from console.conftest import TOKEN
from console.recorded import HELD, INCIDENT, ROGUE
from vaultak.config import Settings
from vaultak.wire import Topics
from vaultak_devstack.broker import Broker
from vaultak_devstack.keys import command_signer
from vaultak_streams.console.app import build
from vaultak_streams.console.desk import Desk
from vaultak_streams.console.entrance import address, bind
from vaultak_streams.console.options import ConsoleOptions
from vaultak_streams.console.reading import Reader

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = [
    pytest.mark.stack,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path"),
]

PAGES = {
    "fleet": "/", "agent": f"/agent?id={ROGUE}", "incidents": "/incidents", "incident": f"/incident?id={INCIDENT}",
    "search": "/search?q=ledger", "acts": "/acts", "policy": "/policy", "health": "/health",
    "rollback": f"/act?agent_id={ROGUE}&command=rollback", "held": "/agent?id=support-agent",
}  # fmt: skip
LOOKS = [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]

LIVE_AGENT = """
import sys
from vaultak import Vaultak, AgentKilledError
vt = Vaultak(api_key="vtk_test", pause_timeout_s=60)
try:
    with vt.monitor("live-bot") as m:
        print("up", flush=True)
        while True:
            sys.stdin.readline()
            with open(sys.argv[1], "a") as f:
                f.write("x")
            print("did", flush=True)
except AgentKilledError:
    print("killed", flush=True)
"""


@pytest.fixture
def at(settings: Settings, topics: Topics, broker: Broker, recorded_dsn: str) -> Iterator[str]:
    """The address of a served console, on a real broker and the recorded hour."""
    settings = msgspec.structs.replace(settings, bootstrap_servers=broker.bootstrap_servers, topics=topics)
    options = ConsoleOptions(token=TOKEN, port=0)
    listener = bind(options)
    desk = Desk(settings=settings, reader=Reader(recorded_dsn), sign=command_signer(settings.data_dir))
    config = uvicorn.Config(build(desk, options, b"s"), log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield address(listener)
    server.should_exit = True
    thread.join()


@pytest.fixture
def browser(at: str) -> Iterator[object]:
    """Started after the topics are made: its event loop runs in this thread, where no other can then."""
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: object, at: str) -> Iterator[Callable[..., object]]:
    """A page of somebody who has signed in. Whatever the browser complains about fails the test."""
    contexts: list[object] = []
    complaints: list[str] = []

    def make(theme: str = "light", width: int = 1280) -> object:
        context = browser.new_context(
            viewport={"width": width, "height": 900 if width > 800 else 844}, color_scheme=theme, base_url=at
        )
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: complaints.append(m.text) if m.type in ("error", "warning") else None)
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"dialog: {dialog.message}"))
        page.goto(f"/login?token={TOKEN}")
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def live_agent(settings: Settings, topics: Topics, broker: Broker, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A monitored agent that appends to a file for every line on its standard input."""
    script, work = tmp_path / "agent.py", tmp_path / "work.txt"
    script.write_text(LIVE_AGENT)
    env = {
        **os.environ, "VAULTAK_BOOTSTRAP_SERVERS": broker.bootstrap_servers, "VAULTAK_TOPIC_PREFIX": topics.prefix,
        "VAULTAK_DATA_DIR": str(settings.data_dir), "VAULTAK_SPOOL_DIR": str(tmp_path / "spool"),
    }  # fmt: skip
    command_signer(settings.data_dir)  # the key that the agent is to trust has to be there when it starts
    agent = subprocess.Popen(
        [sys.executable, str(script), str(work)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None
    assert agent.stdout.readline() == "up\n"
    yield agent
    agent.kill()
    agent.wait()


@pytest.mark.parametrize(("theme", "width"), LOOKS)
def test_every_page_is_whole_in_both_themes_and_widths(
    open_page: Callable[..., object], theme: str, width: int
) -> None:
    page = open_page(theme, width)
    for name, path in PAGES.items():
        page.goto(path)
        if name == "agent":
            page.wait_for_selector("#chart[data-drawn]")
        if name == "health":
            page.wait_for_selector(".findings")
        assert page.title().endswith("Vaultak")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the window"
        assert page.evaluate("document.documentElement.dataset.theme") == theme
        if directory := os.environ.get("VAULTAK_SCREENSHOTS"):
            page.screenshot(path=Path(directory) / f"{name}-{theme}-{width}.png", full_page=width < 800)


def test_hostile_names_run_nothing(open_page: Callable[..., object]) -> None:
    page = open_page()
    page.goto("/")
    page.get_by_role("link", name="evil/").last.click()
    page.wait_for_selector("#chart[data-drawn]")
    assert "owned" not in page.title().split("<")[0]
    page.locator(".timeline summary").first.click()
    page.wait_for_selector(".facts")
    assert page.evaluate("document.images.length") == 0


def test_an_action_opens_to_its_factors_and_explanation(open_page: Callable[..., object]) -> None:
    page = open_page()
    page.goto(f"/agent?id={ROGUE}&only=stopped")
    page.locator(".timeline summary").first.click()
    page.get_by_text("What stood out").wait_for()
    assert page.get_by_text("never seen before").is_visible()


def test_a_timeline_shows_what_is_older(open_page: Callable[..., object]) -> None:
    page = open_page()
    page.goto(f"/agent?id={ROGUE}")
    before = page.locator(".entry").count()
    page.get_by_role("button", name="Older").click()
    page.locator(".entry").nth(before).wait_for()


def test_it_can_be_used_by_keys_alone(open_page: Callable[..., object]) -> None:
    page = open_page()
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("ledger-2022")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=ledger-2022")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    page.wait_for_url("**/incident?id=*")
    page.keyboard.press("g")
    page.keyboard.press("i")
    page.wait_for_url("**/incidents")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()
    page.keyboard.press("t")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_fleet_stays_live(open_page: Callable[..., object]) -> None:
    page = open_page()
    page.goto("/")
    page.evaluate("document.querySelector('#fleet').innerHTML = '<i id=stale></i>'")
    page.wait_for_selector("#stale", state="detached")
    assert page.get_by_role("link", name="billing-bot", exact=True).count() == 1


def test_a_running_agent_is_paused_resumed_and_killed(
    open_page: Callable[..., object], live_agent: subprocess.Popen[str]
) -> None:
    assert live_agent.stdin is not None
    assert live_agent.stdout is not None
    page = open_page()
    for command, reason in (("pause", "looking at it"), ("resume", "it is fine"), ("kill", "it is not")):
        page.goto(f"/act?agent_id=live-bot&command={command}")
        page.get_by_label("Reason").fill(reason)
        page.locator("form.act button").click()
        page.wait_for_url("**/acts/*")
        assert page.locator(".tag.applied").count() == 1
        assert page.get_by_text("console:local").is_visible()
    live_agent.stdin.write("\n")
    live_agent.stdin.flush()
    assert live_agent.stdout.readline() == "killed\n"


def test_a_running_agent_takes_back_what_it_did(
    open_page: Callable[..., object], live_agent: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert live_agent.stdin is not None
    assert live_agent.stdout is not None
    live_agent.stdin.write("\n")
    live_agent.stdin.flush()
    assert live_agent.stdout.readline() == "did\n"
    assert (tmp_path / "work.txt").exists()
    page = open_page()
    page.goto("/act?agent_id=live-bot&command=rollback")
    page.locator("form.act button").click()
    page.wait_for_url("**/acts/*")
    assert page.locator(".tag.applied").count() == 1
    assert not (tmp_path / "work.txt").exists()


@pytest.mark.parametrize("answer", ["Approve", "Deny"])
def test_a_held_action_is_answered_from_a_dialog(open_page: Callable[..., object], answer: str) -> None:
    page = open_page()
    page.goto("/agent?id=support-agent")
    page.get_by_role("link", name=answer).click()
    page.locator("#act[open]").wait_for()
    assert page.locator("#act").get_by_text("amount_eur").is_visible()
    page.locator("#act form button").click()
    page.wait_for_url("**/acts/*")
    assert page.get_by_text("No running instance has answered").is_visible()
    assert page.get_by_text(HELD).is_visible()


def test_a_dialog_can_be_left(open_page: Callable[..., object]) -> None:
    page = open_page()
    page.goto(f"/agent?id={ROGUE}")
    page.get_by_role("link", name="Kill").click()
    page.locator("#act[open]").wait_for()
    page.get_by_role("link", name="Cancel").click()
    assert page.locator("#act[open]").count() == 0
