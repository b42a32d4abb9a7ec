"""Faults at random moments in a running deployment, and the account at the end.

    python -m failures.soak --kills 200 --broker kafka        (from `tests`; `make soak`)

The last line says what was lost and what was doubled; exit code 1 if anything was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median

import msgspec

from failures.account import Account, account, complete
from failures.parts import STEADY, Deployment, freeze
from vaultak.wire import CommandType
from vaultak_devstack.errors import DevstackError
from vaultak_devstack.keys import command_signer
from vaultak_streams.operate import BrokerUnavailableError, send_command
from vaultak_streams.store.client import connect
from vaultak_streams.store.errors import StoreError

FREEZES = 0.25
"""Of the faults, how many are a SIGSTOP for some seconds; the rest are kill -9 and a new start."""

RECOVERY_LIMIT_S = 120.0
COMMAND_EVERY_S = 1.0


class Fault(msgspec.Struct, frozen=True):
    """What was done, and how long until an action taken after it was stored with its verdict."""

    what: str
    recovery_s: float


class Operator(threading.Thread):
    """Pauses and resumes the steady agent all the while."""

    def __init__(self, deployment: Deployment) -> None:
        super().__init__(daemon=True)
        self._deployment = deployment
        self._over = threading.Event()
        self.sent: list[str] = []
        self.unsent = 0
        self.failed = ""

    def run(self) -> None:
        try:
            while not self._over.wait(COMMAND_EVERY_S):
                for command in (CommandType.PAUSE, CommandType.RESUME):
                    self._order(command)
        except BaseException as e:
            self.failed = f"the operator's side failed: {type(e).__name__}: {e}"
            raise

    def _order(self, command: CommandType) -> None:
        """Until it is published: what could not be sent was not promised."""
        settings = self._deployment.settings
        sign = command_signer(settings.data_dir)
        while True:
            try:
                delivery = asyncio.run(send_command(settings, sign, STEADY, command, ack_timeout_s=5))
                self.sent.append(delivery.command.command_id)
                return
            except BrokerUnavailableError:
                self.unsent += 1
                time.sleep(0.5)

    def finish(self) -> None:
        self._over.set()
        self.join(60)


def soak(deployment: Deployment, kills: int, dice: random.Random) -> tuple[list[Fault], Account]:
    """Break and repair a deployment that has been started, let its agents end, and count."""
    operator = Operator(deployment)
    recovered(deployment)
    operator.start()
    faults = []
    for n in range(kills):
        time.sleep(dice.uniform(0.2, 1.5))
        fault = break_one(deployment, dice)
        faults.append(fault)
        print(f"{n + 1:4} {fault.what:32} recovered in {fault.recovery_s:5.1f} s", flush=True)
    operator.finish()
    deployment.rest()
    late = not complete(deployment)
    found = account(deployment, operator.sent)
    found.wrong += ["not everything was stored in time"] * late + [operator.failed] * bool(operator.failed)
    return faults, found


def break_one(deployment: Deployment, dice: random.Random) -> Fault:
    name = dice.choice(sorted(deployment.parts))
    part = deployment.parts[name]
    began = time.monotonic()
    if dice.random() < FREEZES:
        for_s = dice.uniform(1.0, 4.0)
        what = f"{name}, frozen for {for_s:.1f} s"
        freeze(part, for_s)
    else:
        what = f"{name}, kill -9"
        part.kill()
        time.sleep(dice.uniform(0.0, 1.0))
        _start_again(deployment, name)
    recovered(deployment)
    return Fault(what, time.monotonic() - began)


def _start_again(deployment: Deployment, name: str) -> None:
    for attempt in range(5):
        try:
            deployment.parts[name].start()
            return
        except DevstackError:
            if attempt == 4:
                raise
            time.sleep(1)


def recovered(deployment: Deployment) -> None:
    """Wait until what the steady agent does from now on is stored and judged."""
    known = len(deployment.written(STEADY))
    deadline = time.monotonic() + RECOVERY_LIMIT_S
    while time.monotonic() < deadline:
        written = deployment.written(STEADY)
        if len(written) > known and _is_judged(deployment, written[known]):
            return
        time.sleep(0.1)
    raise TimeoutError(f"nothing was stored within {RECOVERY_LIMIT_S:.0f} s\n{deployment.logs()}")


def _is_judged(deployment: Deployment, action_id: str) -> bool:
    sql = "SELECT count() FROM actions WHERE action_id = {id:String} AND scored_ts IS NOT NULL"
    try:
        with connect(deployment.clickhouse.dsn("viewer")) as store:
            return bool(store.query(sql, {"id": action_id}).rows[0][0])
    except StoreError:
        return False


def summary(kills: int, faults: list[Fault], found: Account) -> str:
    by_part: dict[str, list[float]] = {}
    for fault in faults:
        by_part.setdefault(fault.what.partition(",")[0], []).append(fault.recovery_s)
    lines = [
        f"{name:20} {len(times):3} faults; recovered in {median(times):.1f} s (median), {max(times):.1f} s (most)"
        for name, times in sorted(by_part.items())
    ]
    lines += found.wrong[:50]
    lost = sum("lost" in line or "no verdict" in line or "gaps" in line for line in found.wrong)
    doubled = sum("times" in line for line in found.wrong)
    lines.append(
        f"{kills} faults: {found.actions} actions, {found.events} events, {found.commands} commands: "
        f"{lost} lost, {doubled} doubled, {len(found.wrong) - lost - doubled} otherwise wrong "
        f"({found.unwritten} taken by the SDK as their agent was killed)"
    )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="faults at random moments, and what they did")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--broker", choices=("embedded", "kafka", "cluster"), default="kafka")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("VAULTAK_TEST_SEED", random.randrange(10**6))))
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="vaultak-soak-") as folder:
        deployment = Deployment(Path(folder), options.broker)
        try:
            deployment.start()
            faults, found = soak(deployment, options.kills, random.Random(options.seed))
            if found.wrong:
                print(deployment.logs())
        finally:
            deployment.end()
    print(summary(options.kills, faults, found))
    return 1 if found.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
