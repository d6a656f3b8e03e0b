"""Bodies of requests, read into what they should be.

How much may be sent is limited in `body_limits.py`, what may be in a body is said in `models.py`. INVARIANT:
a body that is not of the declared type is refused before it is read.
"""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from api.http.problems import Fault, Problem
from audit.inert import inert

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydantic_core import ErrorDetails
    from starlette.requests import Request

Model = TypeVar("Model", bound=BaseModel)

_SHOWN = 80


def require_type(request: Request, types: Sequence[str]) -> None:
    """Refuse a body that is not of one of the media types; raises Problem."""
    found = request.headers.get("content-type", "")
    if found.partition(";")[0].strip().lower() not in types:
        raise Problem("unsupported-type", f"expected {' or '.join(types)}, found `{inert(found[:_SHOWN])}`")


async def read_model(request: Request, model: type[Model]) -> Model:
    """Read a JSON body; raises Problem with everything that is wrong with it."""
    require_type(request, ("application/json",))
    try:
        return model.model_validate_json(await request.body())
    except ValidationError as err:
        raise invalid(err.errors(include_url=False)) from None


async def read_to_file(request: Request, folder: Path) -> IO[bytes]:
    """Read a body into a file without a name in `folder`, which is gone when it is closed."""
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # the caller closes it
    try:
        async for chunk in request.stream():
            file.write(chunk)
    except BaseException:
        file.close()
        raise
    return file


def invalid(errors: Sequence[ErrorDetails]) -> Problem:
    """Say what is wrong with values, all at once; none of them is repeated in full."""
    return Problem("invalid", errors=[_fault(error) for error in errors])


def refused(field: str, *, expected: str, found: str = "") -> Problem:
    """Say what is wrong with one value."""
    message = f"{field}: expected {expected}" + (f", found `{inert(found[:_SHOWN])}`" if found else "")
    return Problem(
        "invalid", errors=[Fault(message=message, field=field, expected=expected, found=found[:_SHOWN])]
    )


def _fault(error: ErrorDetails) -> Fault:
    field = ""
    for step in error["loc"]:
        field += f"[{step}]" if isinstance(step, int) else f".{inert(step[:_SHOWN])}"
    field = field.lstrip(".")
    value = error["input"]
    found = inert(value[:_SHOWN]) if isinstance(value, str) else type(value).__name__
    message = f"{field}: {error['msg']}" if field else error["msg"]
    return Fault(message=message, field=field, expected=error["msg"], found=found, id=error["type"])
