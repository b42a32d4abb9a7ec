"""`python -m vaultak_streams.agents.worker`: one worker process, until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from aiokafka.errors import KafkaError

from vaultak.config import Settings
from vaultak.control.policies import Shelf
from vaultak.errors import VaultakError
from vaultak.policy import PolicySettings
from vaultak.policy.rules import CompiledRules
from vaultak_devstack.keys import command_signer, sighting_signer
from vaultak_models.model import RiskModel
from vaultak_models.peers import Peers
from vaultak_streams.agents.app import JobApp, make_app
from vaultak_streams.agents.changelog import ChangelogLostError
from vaultak_streams.agents.follow_peers import PeersFollower
from vaultak_streams.agents.follow_policies import follow_policies
from vaultak_streams.agents.options import WorkerOptions, status_path
from vaultak_streams.agents.readiness import Ready, wait_until_ready
from vaultak_streams.agents.status import WRITE_EVERY_S, StatusFile, WorkerStatus
from vaultak_streams.garbage import collect_rarely
from vaultak_streams.judging import load_profile, make_engine, make_pipeline
from vaultak_streams.metrics.attached import attach
from vaultak_streams.metrics.endpoint import Health
from vaultak_streams.metrics.worker import WorkerMeter
from vaultak_streams.models import registry_of
from vaultak_streams.models.following import follow_models
from vaultak_streams.models.promotions import follow_promotions
from vaultak_streams.pipeline.step import Pipeline
from vaultak_streams.policy_files import load_policy

log = logging.getLogger("vaultak.worker")

RESTART_FIRST_S = 0.5
RESTART_LONGEST_S = 10.0
STEADY_S = 60.0
"""A worker that ran for this long starts again without the pauses of those before."""

STOP_TIMEOUT_S = 10.0


def run_worker(settings: Settings, options: WorkerOptions | None = None, policy: PolicySettings | None = None) -> int:
    """Judge actions until SIGTERM or SIGINT; returns the exit code.

    `policy` None: the one of `settings.policy`, or the defaults. Waits for a broker that is not there, and starts
    anew after one that went away. Raises `ConfigurationError` and `PolicyError` before anything is started.
    """
    options = options or WorkerOptions()
    if not logging.getLogger().handlers:
        configure_logging(verbose=False)
    chosen = policy if policy is not None else load_policy(settings.policy)
    collect_rarely()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_until_signal(settings, options, chosen))


async def serve(settings: Settings, options: WorkerOptions, policy: PolicySettings, stop: asyncio.Event) -> None:
    """As `run_worker`, on the running event loop, until `stop` is set.

    It judges with the model that was promoted, and with each that is promoted later; with `options.model` with that.
    """
    registry = registry_of(settings)
    version = registry.current().version
    if options.model is None:
        registry.model_of(version)  # what is not that version does not judge
    peers = Peers()
    pipeline = make_pipeline(policy, options.model or registry.place_of(version), peers)
    sign, sign_sighting = command_signer(settings.data_dir), sighting_signer(settings.data_dir)
    fellows = PeersFollower(settings, peers)
    status = WorkerStatus(
        name=options.name,
        bootstrap_servers=settings.bootstrap_servers,
        policy_version=pipeline.policy_version,
        model_version=pipeline.model_version,
    )
    file, meter = StatusFile(status_path(settings, options.number), status), WorkerMeter()

    def make(ready: Ready) -> JobApp:
        return make_app(
            settings, options, pipeline, load_profile, sign, sign_sighting, status,
            embedded=ready.embedded, ready=all_there, meter=meter,
        )  # fmt: skip

    async def all_there() -> None:
        await wait_until_ready(settings, lambda why: None)
        await fellows.caught_up()

    def swap(model: RiskModel) -> None:
        pipeline.use(make_engine(model, policy, peers))
        status.model_version = pipeline.model_version
        log.info("judging with model %s from here on", status.model_version)

    following = [
        asyncio.create_task(follow_policies(settings, lambda shelf: _adopt(shelf, pipeline, status))),
        asyncio.create_task(fellows.run()),
    ]
    if options.model is None:
        following.append(asyncio.create_task(follow_models(registry, version, swap)))
        following.append(asyncio.create_task(follow_promotions(settings, registry)))
    health = Health(status.not_ready, status.silent_s)
    try:
        with attach(options.name, settings, lambda: meter.families(status), health):
            await _serve(settings, file, make, stop)
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


def _adopt(shelf: Shelf, pipeline: Pipeline[Any], status: WorkerStatus) -> None:
    """Judge by what was pushed, from the next record on."""

    def choose(labels: Mapping[str, str]) -> CompiledRules | None:
        pushed = shelf.for_labels(labels)
        return None if pushed is None else pushed.rules

    pipeline.adopt(choose)
    status.policy_version = pipeline.policy_version
    log.info("judging by policy %s from here on", status.policy_version)


async def _serve(settings: Settings, file: StatusFile, make: Callable[[Ready], JobApp], stop: asyncio.Event) -> None:
    status, wait_s = file.status, RESTART_FIRST_S
    while not stop.is_set():
        started = time.monotonic()
        try:
            ready = await _unless_stopped(stop, wait_until_ready(settings, lambda why: file.set("waiting", why)))
            if ready is None:
                break
            await _run_app(make(ready), file, stop)
        except Exception as e:
            wait_s = RESTART_FIRST_S if time.monotonic() - started > STEADY_S else min(wait_s * 2, RESTART_LONGEST_S)
            status.restarts += 1
            cause = _cause(e)
            why = f"{type(cause).__name__}: {cause}"
            file.set("waiting", why)
            expected = isinstance(cause, (KafkaError, OSError, TimeoutError, ChangelogLostError))
            log.error("the worker stopped (%s); starting anew in %.1f s", why, wait_s, exc_info=None if expected else e)
            await _unless_stopped(stop, asyncio.sleep(wait_s))
    file.set("stopped")


def _cause(error: BaseException) -> BaseException:
    """What is at the bottom of the groups and chains that an error is wrapped in on its way up."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _run_app(app: JobApp, file: StatusFile, stop: asyncio.Event) -> None:
    """One life of the app: returns when told to stop, raises what ended it otherwise."""
    file.set("starting")
    watchers = [asyncio.ensure_future(stop.wait()), asyncio.ensure_future(app._crashed.wait())]
    starting = asyncio.ensure_future(app.start())
    try:
        await asyncio.wait([starting, *watchers], return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            log.info("%s judges the actions of `%s`", file.status.name, app.conf.id)
        while not stop.is_set() and not app.crashed:
            _look(app, file)
            await asyncio.wait(watchers, timeout=WRITE_EVERY_S, return_when=asyncio.FIRST_COMPLETED)
        if app.crashed:
            raise app.crash_reason or RuntimeError("the stream job ended by itself")
        await app.job.settle()
    finally:
        for task in (starting, *watchers):
            task.cancel()
        with contextlib.suppress(TimeoutError, Exception):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await app.stop()


def _look(app: JobApp, file: StatusFile) -> None:
    """Bring the status up to date and write it."""
    status = file.status
    if status.state == "starting" and status.partitions:
        status.state = "running"
    with contextlib.suppress(Exception):  # a moment in a rebalance without a consumer
        status.lag = app.job.lag()
    file.write()


async def _unless_stopped(stop: asyncio.Event, awaitable: Any) -> Any:
    """The result, or `None` when `stop` is set first."""
    waiting, task = asyncio.ensure_future(stop.wait()), asyncio.ensure_future(awaitable)
    try:
        await asyncio.wait([waiting, task], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        waiting.cancel()
        task.cancel()


async def _until_signal(settings: Settings, options: WorkerOptions, policy: PolicySettings) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(settings, options, policy, stop)
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    uvloop.install()  # the consumer's thread makes its loop through the policy
    return uvloop.new_event_loop


def configure_logging(*, verbose: bool) -> None:
    """What an operator can act on; with `verbose` what Faust and the Kafka clients have to say, too."""
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    log.setLevel(logging.INFO)
    if not verbose:
        # Each lost connection fills pages there; what follows from it is one line of ours.
        for name in ("aiokafka", "asyncio", "faust", "mode", "vaultak_streams"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        # So does the consumer's thread when it ends with its connection.
        threading.excepthook = lambda args: log.debug("%s ended: %r", args.thread, args.exc_value)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="vaultak_streams.agents.worker", description=__doc__)
    parser.add_argument("--number", type=int, default=0, help="of this worker on this machine")
    parser.add_argument("--model", type=Path, help="directory of a trained model")
    parser.add_argument("--verbose", action="store_true", help="log what Faust and the Kafka clients do, too")
    given = parser.parse_args(arguments)
    configure_logging(verbose=given.verbose)
    try:
        return run_worker(Settings.from_env(), WorkerOptions(number=given.number, model=given.model))
    except VaultakError as e:
        sys.stderr.write(f"vaultak worker: {e}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main())
