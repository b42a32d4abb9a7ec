"""Forms that change something: read only when this session made them."""

from __future__ import annotations

import structlog
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request

from vaultak_streams.console.gate import CSRF_FIELD, valid_form

log = structlog.get_logger("vaultak.console")


async def own_form(request: Request) -> FormData:
    """The form that was sent, if it carries its session's token. Raises `HTTPException` 403."""
    form = await request.form()
    if not valid_form(request.state.operator, str(form.get(CSRF_FIELD, ""))):
        log.warning("a form without its token was refused", path=request.url.path)
        raise HTTPException(403, "This form is not from this session; go back and try again")
    return form
