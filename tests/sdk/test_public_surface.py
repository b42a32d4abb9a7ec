"""What programs may import, and what importing costs: changes here are changes for users."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import vaultak
from vaultak import Monitor, Vaultak

EXPORTS = {
    "ActionBlockedError",
    "ActionDeniedError",
    "ActionType",
    "AgentKilledError",
    "AgentPausedError",
    "AuditEntry",
    "ConfigurationError",
    "ContextSource",
    "Decision",
    "KillSwitchMode",
    "Monitor",
    "OutcomeStatus",
    "PolicyError",
    "PolicySettings",
    "Vaultak",
    "VaultakError",
    "Verdict",
}


def test_the_exports_are_these_and_each_is_there() -> None:
    assert set(vaultak.__all__) == EXPORTS == set(dir(vaultak))
    for name in EXPORTS:
        assert getattr(vaultak, name).__name__ == name
    with pytest.raises(AttributeError, match="`Nothing`"):
        _ = vaultak.Nothing


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (
            Vaultak,
            "api_key allowed_resources blocked_resources allowed_action_types max_actions_per_minute max_risk_score "
            "rollback_limit mode pause_timeout_s state_timeout_s bootstrap_servers policy settings publisher redactor "
            "floor redact rules",
        ),
        (Vaultak.monitor, "self agent_id labels session_id intercept floor"),
        (Vaultak.action, "self action_type resource undo agent_id"),
        (Vaultak.log_action, "self agent_id action_type resource payload session_id"),
        (Vaultak.log_outcome, "self agent_id action_id status content"),
        (Vaultak.flush, "self timeout_s"),
        (Vaultak.close, "self timeout_s"),
        (Monitor.check, "self action_type resource payload"),
        (Monitor.before, "self action_type resource payload assurance"),
        (Monitor.before_async, "self action_type resource payload assurance"),
        (Monitor.after, "self action_id status content error duration_ms"),
        (Monitor.context, "self content source"),
        (Monitor.approve, "self action_id scope for_s"),
        (Monitor.deny, "self action_id"),
        (Monitor.rollback, "self limit"),
        (Monitor.audit_trail, "self"),
    ],
)
def test_parameters_keep_their_names(function: object, parameters: str) -> None:
    assert list(inspect.signature(function).parameters) == parameters.split()  # type: ignore[arg-type]


def test_a_killed_agent_is_no_exception_that_code_catches_and_no_denial_is_an_os_error() -> None:
    assert not issubclass(vaultak.AgentKilledError, Exception)
    for name in EXPORTS:
        error = getattr(vaultak, name)
        if isinstance(error, type) and issubclass(error, BaseException):
            assert not issubclass(error, OSError)


def test_importing_loads_no_client_and_nothing_heavy() -> None:
    program = (
        "import sys, vaultak; vaultak.Vaultak; "
        "heavy = {'aiokafka', 'numpy', 'sklearn', 'faust', 'chdb', 'cryptography', 'asyncio.base_events'}; "
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stdout.split()) - {"asyncio.base_events"}
    assert loaded == set()
