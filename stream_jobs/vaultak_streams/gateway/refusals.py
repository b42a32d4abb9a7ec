"""Why a request is not served: one exception for each answer, with the words and the header that go with it."""

from __future__ import annotations

from http import HTTPStatus


class RefusedError(Exception):
    """Becomes a `Problem`. `retry_s`: after how long it may work."""

    def __init__(self, status: HTTPStatus, detail: str, retry_s: float | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_s = status, detail, retry_s


def invalid(detail: str) -> RefusedError:
    return RefusedError(HTTPStatus.UNPROCESSABLE_ENTITY, detail)


def malformed(detail: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, detail)


def too_large(detail: str) -> RefusedError:
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, detail)


def unknown_key() -> RefusedError:
    return RefusedError(HTTPStatus.UNAUTHORIZED, "give a key as `Authorization: Bearer vtk_...`")


def not_yours(agent_id: str) -> RefusedError:
    return RefusedError(HTTPStatus.FORBIDDEN, f"this key does not speak for agent `{agent_id[:80]}`")


def too_fast(retry_s: float) -> RefusedError:
    return RefusedError(HTTPStatus.TOO_MANY_REQUESTS, "this key sends too fast", retry_s)


def busy(detail: str, retry_s: float = 1.0) -> RefusedError:
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, detail, retry_s)
