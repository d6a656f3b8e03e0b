"""Exports of the audit log: ask for one, see how far it is, fetch it with its manifest.

How it is made in the background is `api/exports.py`, what is in it `audit/export`; streams are in
`streams.py`. INVARIANT: an export is given to the key that asked for it, and to no other.
"""

from __future__ import annotations

import json
from typing import IO, TYPE_CHECKING, Annotated, cast

from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse

from api.audit_desk import told
from api.control import Question
from api.exports import Export, ExportState, TooManyExportsError, Written, new_export
from api.http import audit_examples as examples
from api.http.access import Asker, Asking
from api.http.answers import BYTES, answer
from api.http.audit import filter_of
from api.http.audit_models import ExportRequest
from api.http.audit_views import ExportsView, ExportView
from api.http.bodies import read_model
from api.http.gateway import Gateway, Within
from api.http.models import ExecutionIdText
from api.http.openapi import body, shown
from api.http.problems import Problem, problems
from audit.times import to_rfc3339

if TYPE_CHECKING:
    from pydantic import JsonValue

    from api.http.audit_models import FormName

router = APIRouter(prefix="/v1/audit/exports", tags=["exports"])

ExportId = Annotated[ExecutionIdText, Path(description="A UUID in lower case.")]


@router.post(
    "",
    operation_id="post_export",
    summary="Ask for an export",
    response_model=ExportView,
    status_code=202,
    responses={
        **problems("bad-filter", "unsupported-type", "too-many-exports"),
        202: shown("It is being made; `Location` is where to ask for it.", examples.EXPORT_GOING),
    },
    openapi_extra=body(
        {"application/json": {"$ref": "#/components/schemas/ExportRequest"}}, example=examples.EXPORT_REQUEST
    ),
)
async def post_export(request: Request, within: Within, asking: Asking) -> Response:
    """Of all events that the filter names, at the moment at which it is asked for."""
    wanted = await read_model(request, ExportRequest)
    export = await run_in_threadpool(_start, within, asking, wanted)
    return answer(_view(within, export), 202, {"Location": f"/v1/audit/exports/{export.export_id}"})


@router.get(
    "",
    operation_id="list_exports",
    summary="List exports",
    response_model=ExportsView,
    responses={**problems(), 200: shown("Exports, newest first.", examples.EXPORTS)},
)
def list_exports(within: Within, asking: Asking) -> Response:
    """Those that this key asked for."""
    found = within.service.desk.exports.list(owner=asking.key.mark)
    return answer(ExportsView(exports=tuple(_view(within, each) for each in found)))


@router.get(
    "/{export_id}",
    operation_id="get_export",
    summary="See how far an export is",
    response_model=ExportView,
    responses={**problems("not-found"), 200: shown("The export.", examples.EXPORT)},
)
def get_export(export_id: ExportId, within: Within, asking: Asking) -> Response:
    """With its manifest, once it is done."""
    return answer(_view(within, _known(within, asking, export_id)))


@router.get(
    "/{export_id}/file",
    operation_id="get_export_file",
    summary="Fetch an export",
    response_class=Response,
    responses={
        **problems("not-found", "still-running"),
        200: {"description": "The export, in the form that was asked for.", "content": {BYTES: {}}},
    },
)
def get_export_file(export_id: ExportId, within: Within, asking: Asking) -> Response:
    """The bytes that the manifest names by their SHA-256."""
    found = _known(within, asking, export_id)
    match found.state:
        case ExportState.RUNNING:
            raise Problem("still-running", "it can be fetched when it is done")
        case ExportState.FAILED:
            raise Problem("not-found", "the export failed")
        case ExportState.DONE:
            pass
    asked = {"export": found.export_id, "fetch": True}
    within.reads.done(
        Question(asking.actor, "get_export_file", asking.scope_text, asked, "export"), rows=found.rows or 0
    )
    # SECURITY: the content is hostile: it is handed out as bytes to keep
    name = f"{found.export_id}.{found.form}"
    return FileResponse(within.service.desk.exports.file(found), media_type=BYTES, filename=name)


def _start(within: Gateway, asking: Asker, request: ExportRequest) -> Export:
    wanted = filter_of(request.filter, asking)
    export = new_export(owner=asking.key.mark, form=request.form, media_type=BYTES)
    given = request.filter.model_dump(by_alias=True, exclude_none=True)
    asked = {**given, "form": request.form, "export": export.export_id}
    question = within.reads.hidden(Question(asking.actor, "post_export", asking.scope_text, asked, "export"))
    first = question.event(rows=None, complete=None)

    def write(out: IO[bytes]) -> Written:
        """Write it; that it is made is on record afterwards."""
        made = within.service.desk.export(wanted, form=request.form, out=out, actor=asking.actor)
        # on record before anybody can fetch it
        within.reads.record(question.event(of=first.event_id, **told(made)))
        return Written(made.rows, made.to_json())

    try:
        return within.service.desk.exports.start(export, write, before=lambda: within.reads.record(first))
    except TooManyExportsError as err:
        raise Problem("too-many-exports", str(err), headers={"Retry-After": "60"}) from err


def _known(within: Gateway, asking: Asker, export_id: str) -> Export:
    found = within.service.desk.exports.get(export_id, owner=asking.key.mark)
    if found is None:
        raise Problem("not-found", f"there is no export {export_id}")
    return found


def _view(within: Gateway, export: Export) -> ExportView:
    manifest: dict[str, JsonValue] | None = None
    if export.state is ExportState.DONE:
        manifest = cast("dict[str, JsonValue]", json.loads(within.service.desk.exports.manifest(export)))
    return ExportView(
        export_id=export.export_id,
        form=cast("FormName", export.form),
        state=export.state.value,
        asked_at=to_rfc3339(export.asked_at_ns),
        rows=export.rows,
        size_bytes=export.size_bytes,
        problem=export.problem,
        manifest=manifest,
        file=f"/v1/audit/exports/{export.export_id}/file",
    )
