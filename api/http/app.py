"""The application: routers, layers and error handlers, put together for one service.

Listening and ending is `server.py`. INVARIANT: whatever goes wrong in a route comes out as a problem, and
what is no error of ours never as a 500.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from fastapi import Depends, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.control import ReadLog
from api.hidden_values import HiddenValues
from api.http import (
    audit,
    audit_executions,
    audit_status,
    executions,
    exports,
    health,
    modules,
    policies,
    queue,
    retention,
    tail,
    tlog,
    verification,
)
from api.http.access import authorise
from api.http.bodies import invalid
from api.http.body_limits import UPLOAD_S, BodyLimit, BodyLimits
from api.http.gateway import Gateway
from api.http.guard import LOOPBACK_HOSTS, Guard
from api.http.openapi import API_VERSION, describe
from api.http.problems import Fault, Problem, fault_of
from api.http.request_log import RequestLog, request_id_of
from api.http.runs import Runs
from api.library import LibraryError, UngovernedError
from api.logs import logger
from api.modules import ModuleMissingError
from api.policies import PolicyMissingError
from audit.errors import AuditError, FilterError, OutOfTimeError
from policy import PolicyError
from policy.access import load_access

if TYPE_CHECKING:
    from fastapi import Request, Response
    from pydantic_core import ErrorDetails

    from api.http.guard import Keys
    from api.service import Service
    from policy.access import Access

_LOG = logger("http")
_EXPECTED: tuple[type[Exception], ...] = (
    Problem,
    HTTPException,
    RequestValidationError,
    ModuleMissingError,
    PolicyMissingError,
    PolicyError,
    UngovernedError,
    LibraryError,
    AuditError,
)
_ROUTERS = (
    health.router,
    modules.router,
    policies.router,
    executions.router,
    queue.router,
    audit.router,
    audit_executions.router,
    tail.router,
    exports.router,
    tlog.router,
    verification.router,
    audit_status.router,
    retention.router,
)


class Application(FastAPI):
    """FastAPI, with a document of our own."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document; made once."""
        if self.openapi_schema is None:
            self.openapi_schema = describe(self)
        return self.openapi_schema


def build_app(
    service: Service,
    runs: Runs,
    *,
    keys: Keys,
    access: Access | None = None,
    hosts: frozenset[str] = LOOPBACK_HOSTS,
) -> Application:
    """Put the application together; `access` is what roles may do, `hosts` the names it goes by."""
    app = Application(
        title="wasmgate",
        version=API_VERSION,
        openapi_url="/v1/openapi.json",
        docs_url=None,  # their pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        dependencies=[Depends(authorise)],  # before each route, those that nobody thought of included
        # SECURITY: queries and error texts would go to a collector; what may is in `api/telemetry.py`
        telemetry={
            "tracing": False,
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
        },
    )
    reads = ReadLog(service.record_event, HiddenValues(service.settings.audit_keys_dir / "mask").out_of)
    app.state.gateway = Gateway(service, runs, access or load_access(), reads, keys)
    for router in _ROUTERS:
        app.include_router(router)
    upload = BodyLimit(service.settings.max_upload_bytes, UPLOAD_S)
    # the last one that is added is the outermost
    app.add_middleware(Guard, keys=keys, hosts=hosts)
    app.add_middleware(BodyLimits, by_path={"/v1/modules": upload})
    app.add_middleware(RequestLog)
    for kind in _EXPECTED:
        app.add_exception_handler(kind, _respond)
    return app


async def _respond(request: Request, error: Exception) -> Response:
    request_id = request_id_of(request.scope)
    problem = problem_of(request, error)
    if problem.status >= 500:  # a server error
        _LOG.error("request failed", request_id=request_id, exc_info=error)
    return problem.response(request_id)


def problem_of(request: Request, error: Exception) -> Problem:
    """Say which problem an error is to the caller."""
    match error:
        case Problem():
            found = error
        case HTTPException():
            found = _unrouted(request, error)
        case RequestValidationError():
            found = invalid(cast("list[ErrorDetails]", error.errors()))
        case ModuleMissingError() | PolicyMissingError():
            found = Problem("not-found", str(error))
        case PolicyError():
            found = Problem("policy-invalid", errors=[fault_of(finding) for finding in error.findings])
        case UngovernedError():
            found = Problem("ungoverned", str(error), errors=[Fault(message=step) for step in error.chain])
        case LibraryError():
            found = Problem("unavailable", str(error), headers={"Retry-After": "10"})
        case FilterError():
            fault = Fault(message=str(error), field=error.field, expected=error.expected, found=error.found)
            found = Problem("bad-filter", errors=[fault])
        case _:
            found = _unanswered(error)
    return found


def _unanswered(error: Exception) -> Problem:
    if isinstance(error, OutOfTimeError):
        return Problem("out-of-time", "narrow it, by time above all, or ask for less at once")
    return Problem("unavailable", headers={"Retry-After": "10"})  # the log or the disk


def _unrouted(request: Request, error: HTTPException) -> Problem:
    match error.status_code:
        case 405:
            return Problem("method-not-allowed", headers={"Allow": _allowed(request, error)})
        case 404:
            return Problem("not-found", "there is no such route")
        case _:
            return Problem("bad-request")


def _allowed(request: Request, error: HTTPException) -> str:
    """Give the methods of a path over all its routes; the error knows those of one route only."""
    paths = cast("Application", request.app).openapi()["paths"]
    route = str(getattr(request.scope.get("route"), "path", ""))
    known = paths.get(request.url.path) or paths.get(route)
    methods = known or (error.headers or {}).get("Allow", "").split(", ")
    return ", ".join(sorted(method.upper() for method in methods))
