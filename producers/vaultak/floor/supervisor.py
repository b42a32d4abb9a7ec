"""Receives what the filter stopped, judges it, and answers. Runs in a process of its own, outside the filter."""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import NamedTuple

from vaultak.agent import Agent, Judged
from vaultak.errors import ActionDeniedError, AgentKilledError
from vaultak.floor import metadata, names, network, opening, programs
from vaultak.floor.kernel import Listener, Notification, own_umask
from vaultak.floor.places import Finder
from vaultak.floor.plan import Descriptor, Passed, Plan, Request
from vaultak.floor.syscalls import Table
from vaultak.floor.tracee import RIGHTS, Tracee, status_of
from vaultak.intercept.effect import Effect
from vaultak.policy.evaluate import LocalVerdict
from vaultak.policy.fields import Subject as PolicySubject
from vaultak.policy.rules.evaluate import RESERVED_IDS
from vaultak.wire import ActionType, AgentState, Decision, OutcomeStatus

log = logging.getLogger("vaultak")

ASSURANCE = "floor"
MAX_WAITING = 512
"""Calls that may wait at a time (for a resume, for a slow connection); those beyond it fail with EAGAIN."""

_HANDLERS: dict[str, Callable[[Request], Plan]] = {
    **opening.HANDLERS,
    **names.HANDLERS,
    **metadata.HANDLERS,
    **network.HANDLERS,
    **programs.HANDLERS,
}
_CODE = (".py", ".pyc", ".pyi", ".so", ".pth", ".egg-link", "METADATA")
_PROCESS = re.compile(r"/proc/(\d+)/(?:task/\d+/)?(\w*)")
_WAITED_FOR = (Decision.ALLOW, Decision.ALERT, Decision.PAUSE)
_PASSES = (Decision.ALLOW, Decision.ALERT)
_SET_ASIDE = RESERVED_IDS - {"blocked_resources", "state"}
"""What does not stand against reading system files and code: limits on what is unusual or not listed."""

Allowed = list[tuple[Effect, str]]
"""Effects with the ids of their actions."""


class _Stopped(NamedTuple):
    """An effect that may not pass without more ado."""

    at: int
    judged: Judged


class Subject(NamedTuple):
    """For whom calls are judged."""

    agent: Agent
    session_id: str
    labels: dict[str, str]
    sources: tuple[str, ...] = ()
    """Directories that the program imports its own code from: reading code there is upkeep."""

    def judge(self, effect: Effect) -> Judged:
        return self.agent.judge(
            self.session_id,
            effect.action_type,
            effect.resource,
            effect.payload,
            labels=self.labels,
            assurance=ASSURANCE,
        )

    def is_upkeep(self, plan: Plan, effect: Effect) -> bool:
        """Whether a read goes without saying: of the system's files or code, which nobody blocks."""
        if self.agent.state is AgentState.KILLED:
            return False
        if not plan.system and not self._is_source(effect):
            return False
        return _SET_ASIDE.issuperset(self._evaluate(effect).rules)

    def _evaluate(self, effect: Effect) -> LocalVerdict:
        subject = PolicySubject(self.agent.agent_id, self.session_id, self.labels)
        return self.agent.foresee(effect.action_type, effect.resource, subject, payload=effect.payload)

    def _is_source(self, effect: Effect) -> bool:
        return (
            effect.action_type is ActionType.FILE_READ
            and effect.resource.endswith(_CODE)
            and effect.resource.startswith(self.sources)
        )

    def is_repeated(self, effect: Effect) -> bool:
        """Whether what the hook has judged may pass without a second judgement on record.

        A pause on account of risk is over when the hook lets an action go; a limit stays a limit.
        """
        if self.agent.state is not AgentState.RUNNING:
            return False
        return self._evaluate(effect).decision in _WAITED_FOR

    def keep(self, effect: Effect, action_id: str) -> None:
        """Journal what the effect will destroy. Failing to is no reason to refuse it: rollback reports it missing."""
        if effect.journal is not None and self.agent.undo is not None:
            try:
                effect.journal(self.agent.undo, action_id)
            except Exception as e:  # noqa: BLE001 - whatever it is, it is ours
                log.error("floor: no undo of `%s`: %r", effect.resource, e)

    def settle(self, allowed: Allowed, error: OSError | None, start_s: float) -> None:
        duration_ms = (time.perf_counter() - start_s) * 1000
        status = OutcomeStatus.OK if error is None else OutcomeStatus.ERROR
        text = "" if error is None else f"{type(error).__name__}: {error.strerror}"
        for _, action_id in allowed:
            self.agent.outcome(self.session_id, action_id, status, error=text, duration_ms=duration_ms)


class Supervisor:
    """Judges the system calls of one filter's processes for `subject`; without one, everything passes.

    `killed` is called when the agent was killed; names that start with one of `own_paths` nobody under the filter can
    reach; `excused(tid, name)` says of a call that it is not to be judged, `noted(effect, tracee)` of an effect
    that the hook has judged. Every call gets an answer; an error of ours is answered with EPERM.
    """

    def __init__(
        self,
        listener: Listener,
        architecture: Table,
        subject: Subject | None,
        *,
        killed: Callable[[], None],
        own_paths: tuple[str, ...] = (),
        excused: Callable[[int, str], bool] = lambda _tid, _name: False,
        noted: Callable[[Effect, Tracee], bool] = lambda _effect, _tracee: False,
    ) -> None:
        self.listener = listener
        self.subject = subject
        self.killed = killed
        self.noted = noted
        self._judged_calls = architecture.judged
        self._excused = excused
        own = status_of(os.getpid())
        self._rights = tuple(own[name] for name in RIGHTS)
        self._unprivileged = int(own["CapEff"], 16) == 0 and len(set(own["Uid"].split())) == 1
        self._own = own_paths
        self._room = threading.BoundedSemaphore(MAX_WAITING)
        self.stopped_calls = 0
        self.failures = 0
        """Calls that failed because of an error of ours."""
        self.crowded_out = 0
        """Calls that failed because too many were waiting."""

    def serve(self, until: int = -1) -> None:
        """Answer until no process is left under the filter, or descriptor `until` can be read."""
        own_umask()
        poll = select.poll()
        poll.register(self.listener.fd, select.POLLIN)
        if until >= 0:
            poll.register(until, select.POLLIN)
        while True:
            for fd, event in poll.poll():
                if fd == until or not event & select.POLLIN:
                    return
                self._receive()

    def _receive(self) -> None:
        notification = self.listener.receive()
        if notification is None:
            return
        self.stopped_calls += 1
        try:
            self._handle(notification)
        except Exception as e:  # noqa: BLE001 - whatever it is, it is ours, and the call must not pass
            self._failed(notification, e)

    def _failed(self, notification: Notification, error: Exception) -> None:
        self.failures += 1
        name = self._judged_calls.get(notification.number, str(notification.number))
        log.error("floor: `%s` of thread %d refused: %r", name, notification.pid, error)
        self.listener.finish(notification.id, -errno.EPERM)

    def _handle(self, notification: Notification) -> None:
        name = self._judged_calls[notification.number]
        subject = self.subject
        if subject is None or self._excused(notification.pid, name):
            self.listener.let_pass(notification.id)
            return
        with ExitStack() as held:
            try:
                tracee = held.enter_context(closing(Tracee(notification.pid)))
                finder = held.enter_context(Finder(tracee))
                plan = _HANDLERS[name](Request(name, notification.arguments, tracee, finder))
            except OSError as e:
                self.listener.finish(notification.id, -(e.errno or errno.EPERM))
                return
            # Only now is it sure that all of it was read from the caller, and not from one with its number.
            if not self.listener.is_waiting(notification.id):
                return
            call = _Call(self, subject, notification, tracee, plan)
            if any(self._is_out_of_reach(effect, tracee) for effect in plan.effects):
                self.listener.finish(notification.id, -errno.EACCES)
                return
            stopped = call.judge()
            if stopped is None and not plan.may_block:
                call.conclude()
            else:
                self._start(call, stopped, held.pop_all())

    def _start(self, call: _Call, stopped: _Stopped | None, held: ExitStack) -> None:
        """Go on in a thread of the call's own: it waits, and others shall not."""

        def run() -> None:
            try:
                own_umask()
                with held:
                    call.go_on(stopped)
            except Exception as e:  # noqa: BLE001 - as above
                self._failed(call.notification, e)
            finally:
                self._room.release()

        if self._room.acquire(blocking=False):
            threading.Thread(target=run, name="vaultak-floor", daemon=True).start()
            return
        self.crowded_out += 1
        with held:
            self.listener.finish(call.notification.id, -errno.EAGAIN)

    def _is_out_of_reach(self, effect: Effect, tracee: Tracee) -> bool:
        """Whether it reaches for the supervisor (its memory, journal or queue), or writes to another's memory."""
        resource = effect.resource
        if (found := _PROCESS.match(resource)) is not None:
            number = found[1]
            if os.path.isdir(f"/proc/self/task/{number}"):
                return True
            writes_memory = found[2] == "mem" and effect.action_type is ActionType.FILE_WRITE
            return writes_memory and not os.path.isdir(f"/proc/{tracee.process}/task/{number}")
        return resource.startswith(self._own) or (
            effect.action_type is ActionType.FILE_DELETE and any(own.startswith(resource + "/") for own in self._own)
        )

    def has_rights_of(self, tracee: Tracee) -> bool:
        """Whether it has the same access to files. Without privileges nobody under the filter can change his."""
        return self._unprivileged or self._rights == tracee.rights()


class _Call:
    """One stopped call on its way to an answer."""

    def __init__(
        self, supervisor: Supervisor, subject: Subject, notification: Notification, tracee: Tracee, plan: Plan
    ) -> None:
        self.notification = notification
        self._supervisor = supervisor
        self._subject = subject
        self._tracee = tracee
        self._plan = plan
        self._allowed: Allowed = []

    def judge(self, start: int = 0) -> _Stopped | None:
        """Judge the effects from `start` on, up to one that is stopped."""
        subject = self._subject
        for at in range(start, len(self._plan.effects)):
            effect = self._plan.effects[at]
            if subject.is_upkeep(self._plan, effect):
                continue
            if self._supervisor.noted(effect, self._tracee) and subject.is_repeated(effect):
                continue
            judged = subject.judge(effect)
            if judged.verdict.decision not in _PASSES:
                return _Stopped(at, judged)
            self._allowed.append((effect, judged.action_id))
        return None

    def go_on(self, stopped: _Stopped | None) -> None:
        """Wait where the agent is paused, fail where the action is denied, act where it is allowed."""
        try:
            while stopped is not None:
                self._enforce(stopped.judged)
                self._allowed.append((self._plan.effects[stopped.at], stopped.judged.action_id))
                stopped = self.judge(stopped.at + 1)
        except (ActionDeniedError, AgentKilledError):
            self._supervisor.listener.finish(self.notification.id, -errno.EACCES)
            return
        self.conclude()

    def _enforce(self, judged: Judged) -> None:
        try:
            self._subject.agent.enforce(self._subject.session_id, judged.action_id, judged.verdict)
        except AgentKilledError:
            self._supervisor.killed()
            raise

    def conclude(self) -> None:
        """Everything is allowed: act and answer."""
        listener, identity = self._supervisor.listener, self.notification.id
        if not listener.is_waiting(identity):
            return
        for effect, action_id in self._allowed:
            self._subject.keep(effect, action_id)
        start_s = time.perf_counter()
        if self._plan.needs_rights and not self._supervisor.has_rights_of(self._tracee):
            listener.let_pass(identity)
            return
        try:
            answer = self._plan.perform()
        except OSError as e:
            listener.finish(identity, -(e.errno or errno.EPERM))
            self._subject.settle(self._allowed, e, start_s)
            return
        if isinstance(answer, Passed):
            listener.let_pass(identity)
            return
        if isinstance(answer, Descriptor):
            try:
                listener.finish_with_descriptor(identity, answer.fd, close_on_exec=answer.close_on_exec)
            finally:
                os.close(answer.fd)
        else:
            listener.finish(identity, answer)
        self._subject.settle(self._allowed, None, start_s)
