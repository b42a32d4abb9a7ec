"""The published document tells the truth: requests made from it, right ones and wrong ones, are answered as it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from vaultak_streams.gateway.openapi import document

CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


schema = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def served(alone: Callable[..., Any]) -> Iterator[tuple[str, str]]:
    """An address, and a key for every agent."""
    with alone(per_second=1e6, burst=1_000_000, max_wait_s=0.01) as running:
        _, key = running.gateway.keys.add(["*"])
        yield running.at, key
        assert running.gateway.intake.counts.actions > 0
        assert set(running.gateway.intake.counts.refused) >= {"400", "422"}


@schema.parametrize()
@pytest.mark.filterwarnings("ignore:Skipped test cases with unsupported payload media types:UserWarning")
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
def test_requests_are_answered_as_the_document_says(served: tuple[str, str], case: Any) -> None:
    at, key = served
    case.call_and_validate(base_url=at, headers={"Authorization": f"Bearer {key}"}, checks=CHECKS)
