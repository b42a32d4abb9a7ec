"""Actions as events of the Open Cybersecurity Schema Framework, version 1.8.0.

A file's actions become File System Activity (1001), programs Process Activity (1007), URLs HTTP Activity (4002), other
connections Network Activity (4001), databases Datastore Activity (6005), everything else API Activity (6003). What has
no place in OCSF is under `unmapped`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

VERSION = "1.8.0"

Row = Mapping[str, Any]
"""An action as the view `actions` shows it; times in seconds since the epoch, UTC."""

Event = dict[str, Any]

_SEVERITY = {"allow": 1, "alert": 3, "pause": 3, "block": 4, "rollback": 4, "kill": 5}
_SEVERITY_NAMES = {1: "Informational", 3: "Medium", 4: "High", 5: "Critical"}
_RISK_LEVELS = ((0.25, 0, "Info"), (0.5, 1, "Low"), (0.7, 2, "Medium"), (0.9, 3, "High"), (1.01, 4, "Critical"))
_STATUS = {"ok": (1, "Success"), "error": (2, "Failure"), "denied": (2, "Failure"), "reversed": (99, "Reversed")}
_METHODS = {
    "CONNECT": 1, "DELETE": 2, "GET": 3, "HEAD": 4, "OPTIONS": 5, "POST": 6, "PUT": 7, "TRACE": 8, "PATCH": 9,
}  # fmt: skip
_FILE = {"file_read": (2, "Read"), "file_write": (3, "Update"), "file_delete": (4, "Delete")}
_DATABASE = {"database_query": (4, "Query"), "database_write": (5, "Write")}


def ocsf_event(row: Row) -> Event:
    """The event of one action."""
    kind = str(row["action_type"])
    resource = str(row["resource"])
    payload = _payload(row)
    build = _builder(kind, resource)
    return {**_base(row), **build(kind, resource, payload, row)}


Builder = Callable[[str, str, dict[str, Any], Row], Event]


def _builder(kind: str, resource: str) -> Builder:
    if kind in _FILE or (kind == "permission_change" and resource.startswith("/")):
        return _file
    if kind == "process_spawn" and resource.startswith("process:"):
        return _process
    if kind in _DATABASE and resource.startswith("db://"):
        return _datastore
    if kind in ("api_call", "network_request") and _is_url(resource):
        return _http
    if kind == "network_request" and resource:
        return _network
    return _api


def _base(row: Row) -> Event:
    decision = str(row["decision"] or row["local_decision"] or "")
    status_id, status = _STATUS.get(str(row["outcome_status"] or ""), (0, "Unknown"))
    severity = _SEVERITY.get(decision, 0)
    denied = row["outcome_status"] == "denied" or row["local_decision"] in ("block", "kill")
    event: Event = {
        "time": int(row["ts"] * 1000),
        "severity_id": severity,
        "severity": _SEVERITY_NAMES.get(severity, "Unknown"),
        "status_id": status_id,
        "status": status,
        "action_id": 2 if denied else 1,
        "action": "Denied" if denied else "Allowed",
        "disposition_id": 2 if denied else 1,
        "disposition": "Blocked" if denied else "Allowed",
        "is_alert": decision not in ("", "allow"),
        "metadata": _metadata(row),
        "actor": _actor(row),
        "unmapped": _unmapped(row),
    }
    if row["risk"] is not None:
        event["risk_score"] = round(row["risk"] * 100)
        event["risk_level_id"], event["risk_level"] = _risk_level(row["risk"])
    if row["duration_ms"] is not None:
        event["duration"] = round(row["duration_ms"])
    if row["reasons"] or row["local_reasons"]:
        event["message"] = "; ".join([*row["reasons"], *row["local_reasons"]])
    if row["error"]:
        event["status_detail"] = row["error"]
    return event


def _metadata(row: Row) -> Event:
    metadata: Event = {
        "version": VERSION,
        "product": {"name": "Vaultak", "vendor_name": "Vaultak"},
        "profiles": ["security_control"],
        "uid": row["action_id"],
        "event_code": str(row["action_type"]),
    }
    if row["seq"] is not None:
        metadata["sequence"] = row["seq"]
    if row["parent_action_id"] or row["trace_id"]:
        metadata["correlation_uid"] = row["trace_id"] or row["parent_action_id"]
    return metadata


def _actor(row: Row) -> Event:
    return {"app_name": row["agent_id"], "app_uid": row["agent_id"], "session": {"uid": row["session_id"]}}


def _unmapped(row: Row) -> Event:
    names = (
        "action_type", "resource", "decision", "local_decision", "rules", "factors", "assurance", "labels",
        "policy_version", "model_version", "outcome_status",
    )  # fmt: skip
    kept = {name: row[name] for name in names if row[name] not in (None, "", [], {})}
    return {"vaultak": {**kept, "payload": _payload(row)}}


def _activity(class_uid: int, class_name: str, category: tuple[int, str], activity: tuple[int, str]) -> Event:
    return {
        "class_uid": class_uid,
        "class_name": class_name,
        "category_uid": category[0],
        "category_name": category[1],
        "activity_id": activity[0],
        "activity_name": activity[1],
        "type_uid": class_uid * 100 + activity[0],
        "type_name": f"{class_name}: {activity[1]}",
    }


_SYSTEM, _NETWORK, _APPLICATION = (1, "System Activity"), (4, "Network Activity"), (6, "Application Activity")


def _file(kind: str, resource: str, payload: dict[str, Any], row: Row) -> Event:
    file = {"name": resource.rpartition("/")[2] or resource or "/", "path": resource, "type_id": 0}
    activity = _FILE.get(kind, (7, "Set Security"))
    return {
        **_activity(1001, "File System Activity", _SYSTEM, activity), "file": file, "device": _device(row)
    }  # fmt: skip


def _process(kind: str, resource: str, payload: dict[str, Any], row: Row) -> Event:
    name = resource.removeprefix("process:")
    process: Event
    if name.startswith("pid:") and name[4:].isdigit() and int(name[4:]) < 2**31:
        process, activity = {"pid": int(name[4:])}, (99, "Signal")
    else:
        process, activity = (
            {"uid": row["action_id"], "name": name.rpartition("/")[2] or name, "path": name},
            (1, "Launch"),
        )
        if isinstance(argv := payload.get("argv"), list):
            process["cmd_line"] = " ".join(map(str, argv))
    return {
        **_activity(1007, "Process Activity", _SYSTEM, activity), "process": process, "device": _device(row)
    }  # fmt: skip


def _http(kind: str, resource: str, payload: dict[str, Any], row: Row) -> Event:
    method = str(payload.get("method", "")).upper()
    activity = (_METHODS[method], method.capitalize()) if method in _METHODS else (99, method or "Request")
    request: Event = {"url": _url(resource)}
    if method in _METHODS:
        request["http_method"] = method
    event = _activity(4002, "HTTP Activity", _NETWORK, activity)
    return {**event, "http_request": request, **_networked(resource, row)}


def _network(kind: str, resource: str, payload: dict[str, Any], row: Row) -> Event:
    return {**_activity(4001, "Network Activity", _NETWORK, (1, "Open")), **_networked(f"//{resource}", row)}


def _networked(address: str, row: Row) -> Event:
    """Both ends. These classes have an `actor` by the profile `host` alone."""
    metadata = {**_metadata(row), "profiles": ["host", "security_control"]}
    return {"src_endpoint": _endpoint(row), "dst_endpoint": _destination(address), "metadata": metadata}


def _destination(address: str) -> Event:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    end: Event = {"hostname": host} if host else {"name": address.removeprefix("//")}
    return {**end, **({"port": port} if port else {})}


def _datastore(kind: str, resource: str, payload: dict[str, Any], row: Row) -> Event:
    dialect, _, rest = resource.removeprefix("db://").partition("/")
    database, _, table = rest.rpartition("/") if "/" in rest else (rest, "", "")
    event = {
        **_activity(6005, "Datastore Activity", _APPLICATION, _DATABASE[kind]),
        "database": {"name": database or dialect or resource, "type_id": 1, "type": "Relational"},
        "type_id": 1,
        "src_endpoint": _endpoint(row),
    }
    if table:
        event["table"] = {"name": table}
    if isinstance(sql := payload.get("sql", payload.get("statement")), str):
        event["query_info"] = {"uid": row["action_id"], "query_string": sql}
    return event


def _api(kind: str, resource: str, payload: dict[str, Any], row: Row) -> Event:
    name = resource or kind
    return {
        **_activity(6003, "API Activity", _APPLICATION, (99, kind)),
        "api": {"operation": name, "service": {"name": resource.partition(":")[0] or kind}},
        "resources": [{"name": name, "type": kind}],
        "src_endpoint": _endpoint(row),
    }


def _device(row: Row) -> Event:
    return {"type_id": 0, "type": "Unknown", "instance_uid": row["instance"] or row["agent_id"]}


def _endpoint(row: Row) -> Event:
    return {"instance_uid": row["instance"] or row["agent_id"]}


def _url(resource: str) -> Event:
    url: Event = {"url_string": resource}
    try:
        parts = urlsplit(resource)
    except ValueError:
        return url
    found = {"scheme": parts.scheme, "hostname": parts.hostname, "path": parts.path, "query_string": parts.query}
    return {**url, **{name: value for name, value in found.items() if value}}


def _is_url(resource: str) -> bool:
    return resource.startswith(("http://", "https://", "ws://", "wss://"))


def _risk_level(risk: float) -> tuple[int, str]:
    return next((number, name) for below, number, name in _RISK_LEVELS if risk < below)


def _payload(row: Row) -> dict[str, Any]:
    try:
        payload = msgspec.json.decode(row["payload"])
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    return payload if isinstance(payload, dict) else {}
