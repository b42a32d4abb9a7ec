"""The OpenAPI 3.1 document of the gateway, made from the structs: `python -m vaultak_streams.gateway.openapi FILE`."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from vaultak.wire import Command
from vaultak_streams.gateway import cloud_events
from vaultak_streams.gateway.messages import AckSent, Answer, Answers, Commands, Problem, Sent

_REF = "#/components/schemas/{name}"

_REFUSALS = {
    "400": "no JSON, or no JSON of the kind that the content type says",
    "401": "no key, or one that is not known",
    "403": "the key does not speak for this agent",
    "404": "no such action, or a name that no agent can have",
    "408": "the body took too long",
    "413": "the body is too large, or has too many events",
    "415": "a content type that is not taken",
    "422": "JSON that is not an event: says which member, and why",
    "429": "the key sends too fast: `Retry-After` says when to come again",
    "503": "the broker does not keep up, or too many requests wait: `Retry-After` says when to come again",
}


@functools.cache
def document() -> dict[str, Any]:
    """The document. The schemas are those by which requests are checked."""
    (sent, ack, answer, answers, commands, problem, _), schemas = msgspec.json.schema_components(
        [Sent, AckSent, Answer, Answers, Commands, Problem, Command], ref_template=_REF
    )
    schemas["Sent"] = sent
    schemas["CloudEvent"] = _CLOUD_EVENT
    schemas = {name: _portable(schema) for name, schema in schemas.items()}
    one, cloud = {"$ref": "#/components/schemas/Sent"}, {"$ref": "#/components/schemas/CloudEvent"}
    events = {
        "application/json": {"schema": {"oneOf": [one, {"type": "array", "items": one, "minItems": 1}]}},
        cloud_events.STRUCTURED: {"schema": cloud},
        cloud_events.BATCH: {"schema": {"type": "array", "items": cloud, "minItems": 1}},
    }
    said = {
        "application/json": {"schema": {"oneOf": [answer, answers]}},
        cloud_events.STRUCTURED: {"schema": {"type": "object"}},
        cloud_events.BATCH: {"schema": {"type": "array", "items": {"type": "object"}}},
    }
    paths = {
        "/v1/actions": {
            "post": {
                "operationId": "sendEvents",
                "summary": "Say what an agent is about to do, or what came of it; get what to do about it",
                "description": "One event or an array of them: all are taken, or none. With `wait` the answer comes "
                "when the pipeline and, where an action is held, an operator have decided, or when the time is over.",
                "parameters": [_WAIT],
                "requestBody": {"required": True, "content": events},
                "responses": {
                    "200": _ok("what to do, one for each event", said),
                    **_refusals("400 401 403 408 413 415 422 429 503"),
                },
            }
        },
        "/v1/traces": {
            "post": {
                "operationId": "exportTraces",
                "summary": "OTLP/HTTP: spans of tools become actions with their outcome",
                "requestBody": {"required": True, "content": _OTLP},
                "responses": {"200": _ok("taken", _OTLP), **_refusals("400 401 408 413 415 429 503")},
            }
        },
        "/v1/agents/{agent_id}/actions/{action_id}": {
            "get": {
                "operationId": "getAction",
                "summary": "How an action stands now: of the last ones that this gateway took",
                "parameters": [_AGENT, _ACTION, _WAIT],
                "responses": {
                    "200": _ok("what to do", {"application/json": {"schema": answer}}),
                    **_refusals("401 403 404 422 503"),
                },
            }
        },
        "/v1/agents/{agent_id}/commands": {
            "get": {
                "operationId": "getCommands",
                "summary": "The agent's state, and commands to it",
                "description": "With `wait` the answer comes with the next command, or when the time is over. "
                "With `Accept: text/event-stream` it is an endless stream of server-sent events (`state`, `command`).",
                "parameters": [_AGENT, _AFTER, _WAIT],
                "responses": {
                    "200": _ok(
                        "state and commands",
                        {"application/json": {"schema": commands}, "text/event-stream": {"schema": {"type": "string"}}},
                    ),
                    **_refusals("401 403 404 422 503"),
                },
            }
        },
        "/v1/agents/{agent_id}/acks": {
            "post": {
                "operationId": "acknowledge",
                "summary": "Say what the agent did with a command",
                "parameters": [_AGENT],
                "requestBody": {"required": True, "content": {"application/json": {"schema": ack}}},
                "responses": {"204": {"description": "passed on"}, **_refusals("400 401 403 404 408 413 422")},
            }
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Vaultak gateway",
            "version": "1",
            "description": "Actions of agents in any language: judged, recorded, commanded. See docs/http.md.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "http://127.0.0.1:8701"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "`vtk_...`"}},
            "responses": {
                f"Refused{status}": {
                    "description": why,
                    "content": {"application/problem+json": {"schema": problem}},
                }
                for status, why in _REFUSALS.items()
            },
        },
    }


def _portable(schema: Any) -> Any:
    """Without `discriminator`, which only repeats what the constants of `kind` say."""
    if isinstance(schema, dict):
        return {key: _portable(value) for key, value in schema.items() if key != "discriminator"}
    return [_portable(value) for value in schema] if isinstance(schema, list) else schema


def _ok(description: str, content: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": content}


def _refusals(statuses: str) -> dict[str, Any]:
    return {status: {"$ref": f"#/components/responses/Refused{status}"} for status in statuses.split()}


def _parameter(name: str, where: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": where, "required": where == "path", "description": about, "schema": schema}


_WAIT = _parameter(
    "wait",
    "query",
    "seconds to wait; 30 at most unless configured otherwise",
    {"type": "number", "minimum": 0, "maximum": 300},
)
_AGENT = _parameter("agent_id", "path", "the agent", {"type": "string", "minLength": 1, "maxLength": 256})
_ACTION = _parameter("action_id", "path", "the action", {"type": "string", "minLength": 1, "maxLength": 128})
_AFTER = _parameter(
    "after", "query", "a cursor from an answer before", {"type": "integer", "minimum": 0, "maximum": 1 << 62}
)

_CLOUD_EVENT = {
    "title": "CloudEvent",
    "description": "CloudEvents 1.0; what `data` leaves out comes from `id`, `source` (`/agents/<id>`) and `time`.",
    "type": "object",
    "required": ["specversion", "id", "source", "type", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1},
        "type": {"enum": ["vaultak.action.v1", "vaultak.outcome.v1", "vaultak.context.v1"]},
        "time": {"type": "string", "format": "date-time"},
        "data": {"type": "object"},
    },
}


_OTLP: dict[str, Any] = {
    "application/json": {"schema": {"type": "object", "description": "as opentelemetry-proto describes it"}},
    "application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
}


def render() -> str:
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render())
