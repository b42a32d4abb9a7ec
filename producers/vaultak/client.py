"""`Vaultak(...)`: the settings and the policy of one program, and the agents that it governs."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

import msgspec

from vaultak.actions import Resource, as_action
from vaultak.agent import Agent
from vaultak.chain import Publishes
from vaultak.config import Settings
from vaultak.emitter import Emitter
from vaultak.errors import ConfigurationError
from vaultak.monitor import Monitor
from vaultak.policy.evaluate import CompiledPolicy
from vaultak.policy.load import load_policy
from vaultak.policy.rules import Bundle, load_bundle
from vaultak.policy.settings import KillSwitchMode, PolicySettings
from vaultak.redact import Redaction, Redactor, shown
from vaultak.wire import ActionType, OutcomeStatus, Verdict

if TYPE_CHECKING:
    from vaultak.control import ControlListener
    from vaultak.control.verdicts import VerdictFollower
    from vaultak.floor.monitor import Floor
    from vaultak.undo import UndoLog

log = logging.getLogger("vaultak")

DEFAULT_PAUSE_TIMEOUT_S = 300.0
DEFAULT_TRAIL_LIMIT = 1000
MAX_ROLLBACK_LIMIT = 10_000

F = TypeVar("F", bound=Callable[..., Any])


class Publisher(Publishes, Protocol):
    """What the client needs of a publisher."""

    def flush(self, timeout_s: float) -> bool: ...

    def close(self, timeout_s: float) -> None: ...


class Vaultak:
    """Governs the agents of this program.

    Keywords are limits on every agent it monitors; without any of them the policy file named by `VAULTAK_POLICY`
    counts. `rules`: a bundle of rules beside the limits, or its file, as `vaultak policy compile` writes it.
    Everything has a default: `Vaultak()` watches, scores and obeys commands. Raises `ConfigurationError` or
    `PolicyError`, one line that names what is wrong. Thread-safe.
    """

    def __init__(
        self,
        api_key: str | None = None,
        *,
        allowed_resources: Sequence[str] | None = None,
        blocked_resources: Sequence[str] | None = None,
        allowed_action_types: Sequence[ActionType | str] | None = None,
        max_actions_per_minute: int | None = None,
        max_risk_score: float | None = None,
        rollback_limit: int = 5,
        mode: KillSwitchMode | str | None = None,
        pause_timeout_s: float = DEFAULT_PAUSE_TIMEOUT_S,
        state_timeout_s: float = 0.5,
        bootstrap_servers: str | None = None,
        policy: PolicySettings | None = None,
        settings: Settings | None = None,
        publisher: Publisher | None = None,
        redactor: Redactor | None = None,
        floor: Floor = "off",
        redact: Redaction | None = None,
        rules: Bundle | Path | str | None = None,
    ) -> None:
        self.settings = _settings(settings, api_key, bootstrap_servers)
        given = {
            "allowed_resources": allowed_resources,
            "blocked_resources": blocked_resources,
            "allowed_action_types": allowed_action_types,
            "max_actions_per_minute": max_actions_per_minute,
            "max_risk_score": max_risk_score,
            "mode": mode,
        }
        limits = _policy(self.settings, policy, {k: v for k, v in given.items() if v is not None})
        self.policy = limits if rules is None else msgspec.structs.replace(limits, rules=_bundle(rules))
        self._compiled = CompiledPolicy(self.policy)
        self._rollback_limit = _in_range("rollback_limit", rollback_limit, 0, MAX_ROLLBACK_LIMIT)
        self._pause_timeout_s = _in_range("pause_timeout_s", pause_timeout_s, 0, 86_400 * 30)
        self._state_timeout_s = _in_range("state_timeout_s", state_timeout_s, 0, 60)
        self._redactor = redactor or Redactor(redact)
        self._redaction = redact
        self._floor = _known_floor(floor)
        self._lock = threading.RLock()
        self._publisher = publisher
        self._connects = publisher is None
        self._agents: dict[str, Agent] = {}
        self._listeners: dict[str, ControlListener] = {}
        self._followers: list[VerdictFollower] = []
        self._loose: dict[str, Monitor] = {}
        _LIVING.add(self)

    # -- governing ---------------------------------------------------------------------------------------------

    def monitor(
        self,
        agent_id: str,
        *,
        labels: dict[str, str] | None = None,
        session_id: str | None = None,
        intercept: bool = True,
        floor: Floor | None = None,
    ) -> Monitor:
        """A session of an agent, for a `with` or `async with` block.

        `labels` describe the agent (`role`, `team` ...). `intercept=False` governs explicit actions only.
        `floor` (default: the client's): `auto` judges system calls too where the machine can, `require` raises
        `VaultakError` on entering where it cannot.
        """
        if session_id is not None:
            _identifier("session id", session_id)
        shown = self._redactor.value(dict(labels)) if labels else None
        floor = self._floor if floor is None else _known_floor(floor)
        if floor == "off" or not intercept:
            return Monitor(self._agent(agent_id, shown), session_id=session_id, labels=shown, intercept=intercept)
        from vaultak.floor.monitor import FlooredMonitor

        agent = self._agent(agent_id, shown)
        return FlooredMonitor(self, agent, floor == "require", session_id=session_id, labels=shown)

    def action(
        self,
        action_type: ActionType | str,
        *,
        resource: Resource = None,
        undo: Callable[..., object] | None = None,
        agent_id: str = "default",
    ) -> Callable[[F], F]:
        """Make a function an action: judged before each call, recorded after, undone by `undo` on rollback.

        In a string `resource`, `{name}` stands for an argument. Called outside every monitor it acts as `agent_id`.
        """
        try:
            known = ActionType(action_type)
        except ValueError:
            raise ConfigurationError(
                f"action type `{action_type}` is unknown; use one of {', '.join(ActionType)}"
            ) from None

        def decorate(function: F) -> F:
            return as_action(function, known, resource, undo, lambda: self._loose_monitor(agent_id))

        return decorate

    def log_action(
        self,
        *,
        agent_id: str,
        action_type: ActionType | str,
        resource: str,
        payload: dict[str, Any] | None = None,
        session_id: str | None = None,
    ) -> Verdict:
        """Judge and record one action of an agent that is not monitored here. Never raises: obey the verdict."""
        monitor = self.monitor(agent_id, session_id=session_id) if session_id else self._loose_monitor(agent_id)
        return monitor.check(action_type, resource, payload)

    def log_outcome(
        self, *, agent_id: str, action_id: str, status: OutcomeStatus | str = OutcomeStatus.OK, content: str = ""
    ) -> None:
        """Record what came of an action that was logged with `log_action`."""
        self._loose_monitor(agent_id).after(action_id, OutcomeStatus(status), content=content)

    def _loose_monitor(self, agent_id: str) -> Monitor:
        """The session of explicit actions outside every `with` block."""
        with self._lock:
            if agent_id not in self._loose:
                self._loose[agent_id] = self.monitor(agent_id, intercept=False)
            return self._loose[agent_id]

    # -- agents ------------------------------------------------------------------------------------------------

    def _agent(self, agent_id: str, labels: dict[str, str] | None = None) -> Agent:
        _identifier("agent id", agent_id)
        if agent_id == "*":
            raise ConfigurationError("agent id `*` stands for all agents; choose another")
        with self._lock:
            if (agent := self._agents.get(agent_id)) is None:
                agent = self._agents[agent_id] = self._make_agent(agent_id)
                agent.describe(labels or {})
                self._listen(agent)
            elif labels:
                agent.describe(labels)
            return agent

    def _make_agent(self, agent_id: str) -> Agent:
        emitter = Emitter(agent_id, self.settings.topics.actions, self._the_publisher(), self._redactor)
        agent = Agent(
            emitter,
            self._compiled,
            self._open_undo(agent_id, emitter.instance),
            rollback_limit=self._rollback_limit,
            pause_timeout_s=self._pause_timeout_s,
            trail_limit=DEFAULT_TRAIL_LIMIT,
        )
        agent.hand_down = functools.partial(self.hand_down, agent_id)
        agent.begin_anew = functools.partial(self._begin_anew, weakref.ref(agent))
        return agent

    def _begin_anew(self, of: weakref.ref[Agent]) -> None:
        """In a forked child: commands have to be followed, and files journaled, by threads and logs of its own."""
        agent = of()
        if agent is None or agent.closed:
            return
        agent.undo = self._open_undo(agent.agent_id, agent.emitter.instance)
        with self._lock:
            self._listen(agent)

    def hand_down(self, agent_id: str, session_id: str, labels: dict[str, str], *, floor: Floor = "off") -> str:
        """What another Python process needs to be this agent from its first line on: its `VAULTAK_INHERIT`.

        See `vaultak.inherit.environment`. Raises `OSError` where the data directory cannot be written.
        """
        from vaultak.inherit import Heritage, hand_down
        from vaultak.inherit.heritage import sources

        heritage = Heritage(**self.terms(agent_id, session_id, labels), floor=floor, sources=sources())
        return hand_down(heritage, self.settings.data_dir / "heritage")

    def terms(self, agent_id: str, session_id: str, labels: dict[str, str]) -> dict[str, Any]:
        """The members of `vaultak.terms.Terms` with which another process judges as this client does."""
        from vaultak.terms import pack_settings

        return {
            "agent_id": agent_id,
            "session_id": session_id,
            "policy": self.policy,
            "settings": pack_settings(self.settings),
            "pause_timeout_s": self._pause_timeout_s,
            "state_timeout_s": self._state_timeout_s,
            "rollback_limit": self._rollback_limit,
            "labels": labels,
            "redact": self._redaction,
        }

    def _open_undo(self, agent_id: str, instance: str) -> UndoLog | None:
        if self._rollback_limit == 0:
            return None
        from vaultak.undo import UndoLog, agent_directory, tidy

        directory = agent_directory(self.settings.data_dir, agent_id) / instance
        try:
            tidy(directory.parent)
            return UndoLog(directory, agent_id)
        except OSError as e:
            log.warning("no rollback for agent %r: cannot write its undo log to %s: %s", agent_id, directory, e)
            return None

    def _the_publisher(self) -> Publisher:
        with self._lock:
            if self._publisher is None:
                from vaultak.publish import Publisher as KafkaPublisher

                self._publisher = KafkaPublisher(self.settings)
            return self._publisher

    def _listen(self, agent: Agent) -> None:
        """Start to obey commands, and take over the agent's last state if the broker answers soon."""
        if not self._connects:
            return
        from vaultak.control import ControlListener

        listener = ControlListener(
            self.settings,
            agent.agent_id,
            agent.emitter.instance,
            agent.obey,
            agent.learn,
            self._the_publisher(),
            agent.adopt,
        )
        listener.start()
        listener.wait_told(self._state_timeout_s)
        self._listeners[agent.agent_id] = listener
        if agent.policy.settings.verdict_from_risk is not None:
            self._follow_verdicts(agent)

    def _follow_verdicts(self, agent: Agent) -> None:
        """Only for a policy that waits for verdicts: it is one more connection to the broker."""
        from vaultak.control.verdicts import VerdictFollower

        follower = VerdictFollower(self.settings, agent.agent_id, agent.hear_verdict)
        follower.start()
        follower.wait_following(self._state_timeout_s)
        agent.hears_verdicts = True
        self._followers.append(follower)

    # -- the end -----------------------------------------------------------------------------------------------

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until everything emitted so far has been delivered; False when the time was not enough."""
        return self._publisher.flush(timeout_s) if self._publisher else True

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop listening, deliver what is left (what cannot be delivered stays spooled on disk). Idempotent.

        The client can be used again: `monitor` begins anew. A monitor from before cannot be entered any more; inside
        one that is still entered actions are judged and recorded, but no commands arrive and nothing can be undone.
        """
        with self._lock:
            listeners, self._listeners = list(self._listeners.values()), {}
            followers, self._followers = self._followers, []
            agents, self._agents, self._loose = list(self._agents.values()), {}, {}
            publisher, self._publisher = self._publisher, None if self._connects else self._publisher
        for stop in (*(listener.stop for listener in listeners), *(follower.stop for follower in followers)):
            with contextlib.suppress(Exception):
                stop()
        for agent in agents:
            with contextlib.suppress(OSError):
                agent.close()
        if publisher is not None:
            publisher.close(timeout_s)

    def after_fork_in_child(self) -> None:
        """The parent's listeners stay with the parent; its agents take up theirs when they first act."""
        self._lock = threading.RLock()
        self._listeners = {}
        self._followers = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _settings(settings: Settings | None, api_key: str | None, bootstrap_servers: str | None) -> Settings:
    base = settings or Settings.from_env()
    if bootstrap_servers is not None:
        env = {"VAULTAK_BOOTSTRAP_SERVERS": bootstrap_servers, "VAULTAK_DATA_DIR": str(base.data_dir)}
        base = msgspec.structs.replace(base, bootstrap_servers=Settings.from_env(env).bootstrap_servers)
    return base if api_key is None else msgspec.structs.replace(base, api_key=api_key)


def _policy(settings: Settings, policy: PolicySettings | None, given: dict[str, Any]) -> PolicySettings:
    if policy is not None and given:
        raise ConfigurationError(f"give either `policy` or `{next(iter(given))}`, not both")
    if policy is not None:
        return policy
    base = load_policy(settings.policy) if settings.policy else PolicySettings()
    limits = msgspec.structs.replace(base, rules=None)
    members = {**msgspec.to_builtins(limits), **{k: _plain(v) for k, v in given.items()}}
    try:
        return msgspec.structs.replace(msgspec.convert(members, PolicySettings), rules=base.rules)
    except msgspec.ValidationError as e:
        raise ConfigurationError(f"Vaultak: {e}") from None


def _bundle(rules: Bundle | Path | str) -> Bundle:
    return rules if isinstance(rules, Bundle) else load_bundle(Path(rules))


def _plain(value: Any) -> Any:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    return [str(item) for item in value]


def _identifier(name: str, value: object) -> None:
    """What other parts accept as an id and use as a key. Raises `ConfigurationError`."""
    if not isinstance(value, str) or not 1 <= len(value) <= 256:
        raise ConfigurationError(f"{name} `{shown(value)[:64]}` is not text of 1 to 256 characters")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ConfigurationError(f"{name} {value[:64]!r} cannot be written in UTF-8") from None


def _known_floor(floor: Floor) -> Floor:
    if floor not in ("off", "auto", "require"):
        raise ConfigurationError(f"floor: `{floor}` is unknown; use off, auto or require")
    return floor


N = TypeVar("N", int, float)


def _in_range(name: str, value: N, low: float, high: float) -> N:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigurationError(f"{name}: `{value}` is not a number from {low:g} to {high:g}")
    return value


_LIVING: weakref.WeakSet[Vaultak] = weakref.WeakSet()


def _after_fork() -> None:
    for client in list(_LIVING):
        client.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
