"""JSON-RPC messages as MCP sends them: read strictly, so that a server cannot read another one than was judged."""

from __future__ import annotations

import json
from typing import Any

import msgspec

PARSE_ERROR, INVALID_REQUEST, REFUSED = -32700, -32600, -32000

Id = str | int


class UnreadableError(ValueError):
    """No JSON-RPC message. `code` is JSON-RPC's."""

    def __init__(self, why: str, code: int = INVALID_REQUEST) -> None:
        super().__init__(why)
        self.code = code


class Message(msgspec.Struct, frozen=True):
    """One message: a request has an id and a method, a notification a method alone, a response an id alone."""

    members: dict[str, Any]
    raw: bytes
    """As it came: what is passed on."""

    @property
    def id(self) -> Id | None:
        found = self.members.get("id")
        return found if isinstance(found, str | int) and not isinstance(found, bool) else None

    @property
    def method(self) -> str:
        return str(self.members.get("method", ""))

    @property
    def params(self) -> dict[str, Any]:
        found = self.members.get("params")
        return found if isinstance(found, dict) else {}

    @property
    def result(self) -> Any:
        return self.members.get("result")


def read(raw: bytes) -> Message:
    """Raises `UnreadableError` for what is no single message, and for what two parsers may read differently."""
    try:
        value = json.loads(raw, object_pairs_hook=_once, parse_constant=_no_number)
    except UnreadableError:
        raise
    except (ValueError, RecursionError) as e:
        raise UnreadableError(f"not JSON: {str(e)[:200]}", PARSE_ERROR) from None
    if isinstance(value, list):
        raise UnreadableError("batches are not taken: send one message at a time")
    if not isinstance(value, dict):
        raise UnreadableError("a message is an object")
    if "method" in value and not isinstance(value["method"], str):
        raise UnreadableError("`method` is a text")
    if value.get("id") is not None and (isinstance(value["id"], bool) or not isinstance(value["id"], str | int)):
        raise UnreadableError("`id` is a text or a whole number")
    return Message(value, raw)


def write(members: dict[str, Any]) -> bytes:
    return json.dumps(members, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def error(message_id: Id | None, code: int, text: str) -> bytes:
    return write({"jsonrpc": "2.0", "id": message_id, "error": {"code": code, "message": text}})


def tool_error(message_id: Id, text: str) -> bytes:
    """A tool's result that says why the tool did not run: what a model gets to read."""
    result = {"content": [{"type": "text", "text": text}], "isError": True, "resultType": "complete"}
    return write({"jsonrpc": "2.0", "id": message_id, "result": result})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise UnreadableError("a member appears twice")
    return members


def _no_number(name: str) -> Any:
    raise UnreadableError(f"`{name}` is no JSON", PARSE_ERROR)
