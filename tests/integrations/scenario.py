"""What a framework is made to do: tools, the words of a fake model, and how the run is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from vaultak import Vaultak
from vaultak.integrations.toolcall import OnBlock, Undo

Mode = Literal["sync", "async", "stream"]
Step = list[tuple[str, dict[str, Any]]] | str
"""The tool calls of one turn of the model, made at once; a text ends the run."""


class Tools:
    """The agent's tools, as plain functions; `ran` says which of them really ran, in order."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ran: list[tuple[str, str]] = []

    def note(self, text: str) -> str:
        """Write a note. Args: text: what to write."""
        self.ran.append(("note", text))
        return f"noted {text}"

    def erase(self, text: str) -> str:
        """Erase everything. Args: text: what to erase."""
        self.ran.append(("erase", text))
        return f"erased {text}"

    def fail(self, text: str) -> str:
        """Fail. Args: text: why."""
        self.ran.append(("fail", text))
        raise RuntimeError(f"it broke: {text}")

    def save(self, text: str) -> str:
        """Save a file. Args: text: the file's name."""
        (self.directory / text).write_text("saved")
        self.ran.append(("save", text))
        return f"saved {text}"

    @property
    def functions(self) -> dict[str, Callable[[str], str]]:
        """Plain functions under the tools' names, as frameworks expect them."""
        return {name: _function(getattr(self, name), name) for name in ("note", "erase", "fail", "save")}


def _function(method: Callable[[str], str], name: str) -> Callable[[str], str]:
    def function(text: str) -> str:
        return method(text)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = (method.__doc__ or "").replace(" Args: ", "\n\nArgs:\n    ")
    return function


@dataclass
class Scenario:
    """One run of an agent."""

    vt: Vaultak
    tools: Tools
    script: list[Step]
    mode: Mode = "sync"
    request: str = "please do your work"
    agent_id: str = "worker"
    undo: Mapping[str, Undo] = field(default_factory=dict)
    on_block: OnBlock = "tell"
    given: tuple[str, ...] = ("note", "erase", "fail", "save")
    """Tools that the agent has from the start."""
    late: tuple[str, ...] = ()
    """Tools that it gets while it runs."""

    def functions(self, names: tuple[str, ...]) -> list[Callable[[str], str]]:
        return [self.tools.functions[name] for name in names]


class Harness(Protocol):
    """A framework with a fake model behind it."""

    modes: tuple[Mode, ...]
    lacks: Mapping[str, str]
    """Tests of the battery that do not apply, each with the reason."""
    says_of_errors: str
    """What can be seen of a tool's error."""
    knows_request: bool
    """Whether the framework tells what the user asked."""
    remote: bool
    """Whether the agent is at the other end of a connection: its run cannot be ended, it is told."""

    def run(self, scenario: Scenario) -> str:
        """Run the agent to its end; returns all that the fake model was shown."""
        ...

    def run_sub_agent(self, scenario: Scenario) -> str:
        """As `run`, by an agent whose only tool is another agent, which has the tools and reads the script."""
        ...


def causes(error: BaseException) -> list[BaseException]:
    """An error, and what it came from or contains."""
    found: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        if (one := pending.pop()) is not None and one not in found:
            found.append(one)
            pending += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
    return found
