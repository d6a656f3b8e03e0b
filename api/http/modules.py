"""Modules: hand one over, list them, look into one.

Whether a module may run is decided at each run, so any bytes are taken. Nothing is compiled here. INVARIANT:
a module is named by the digest of its bytes, so handing it over again changes nothing.
"""

from __future__ import annotations

from typing import IO, Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.http import examples
from api.http.answers import answer
from api.http.bodies import read_to_file, require_type
from api.http.gateway import Gateway, Within
from api.http.models import DigestText, ModuleQuery, UploadQuery
from api.http.openapi import body, shown
from api.http.problems import problems
from api.http.views import (
    ExportView,
    ImportView,
    InspectedModuleView,
    InspectionView,
    MemoryView,
    ModulesView,
    ModuleView,
    RefusalView,
)
from api.modules import ModuleMissingError, StoredModule, module_digest
from audit.times import to_rfc3339
from sandbox.admission import digest_of
from sandbox.inspection import ImportView as InspectedImport
from sandbox.inspection import Inspection, inspect
from sandbox.refusal import AdmissionRefused

router = APIRouter(prefix="/v1/modules", tags=["modules"])

TYPES = ("application/wasm", "application/octet-stream")
_UPLOAD = {
    **problems("unsupported-type"),
    200: shown("It was kept already.", examples.MODULE, model=ModuleView),
    201: shown("It is kept now.", examples.MODULE),
}


@router.post(
    "",
    operation_id="post_module",
    summary="Hand a module over",
    response_model=ModuleView,
    status_code=201,
    responses=_UPLOAD,
    openapi_extra=body({kind: {"type": "string", "format": "binary"} for kind in TYPES}),
)
async def post_module(request: Request, within: Within, query: Annotated[UploadQuery, Query()]) -> Response:
    """The bytes of the module, as they are; the answer has their digest, by which runs name it."""
    return await _upload(request, within, query)


@router.put(
    "",
    operation_id="put_module",
    summary="Hand a module over",
    response_model=ModuleView,
    status_code=201,
    responses=_UPLOAD,
    openapi_extra=body({kind: {"type": "string", "format": "binary"} for kind in TYPES}),
)
async def put_module(request: Request, within: Within, query: Annotated[UploadQuery, Query()]) -> Response:
    """The same as `POST`."""
    return await _upload(request, within, query)


@router.get(
    "",
    operation_id="list_modules",
    summary="List the modules",
    response_model=ModulesView,
    responses={**problems(), 200: shown("The modules that are kept, by digest.", examples.MODULES)},
)
def list_modules(within: Within) -> Response:
    """By digest."""
    return answer(ModulesView(modules=tuple(_view(stored) for stored in within.service.modules.list())))


@router.get(
    "/{digest}",
    operation_id="get_module",
    summary="Look into a module",
    response_model=InspectedModuleView,
    responses={
        **problems("not-found", "policy-invalid"),
        200: shown("The module, laid open.", examples.INSPECTED),
    },
)
def get_module(digest: DigestText, within: Within, query: Annotated[ModuleQuery, Query()]) -> Response:
    """Imports, exports, and what admission would say; with `policy`, what that policy does not grant."""
    name = module_digest(digest)
    stored = within.service.modules.about(name)
    plan = within.service.policies.plan(query.policy) if query.policy else None
    refusal, found = None, None
    try:
        found = inspect(within.service.modules.get(name), plan, name=stored.name)
        refusal = found.refusal
    except AdmissionRefused as err:
        refusal = err
    return answer(
        InspectedModuleView(
            **dict(_view(stored)),
            policy=query.policy,
            refusal=RefusalView(reason=refusal.reason.value, message=refusal.message) if refusal else None,
            inspection=_inspection(found) if found else None,
        )
    )


async def _upload(request: Request, within: Gateway, query: UploadQuery) -> Response:
    # what it is, its first bytes tell: a client that names no type is taken at that
    require_type(request, (*TYPES, ""))
    with await read_to_file(request, within.service.settings.modules_dir) as file:
        stored, is_new = await run_in_threadpool(_keep, within, file, query.name or "")
    location = f"/v1/modules/{stored.digest}"
    return answer(_view(stored), 201 if is_new else 200, {"Location": location})


def _keep(within: Gateway, file: IO[bytes], name: str) -> tuple[StoredModule, bool]:
    modules = within.service.modules
    with within.uploading:
        file.seek(0)
        module = file.read()
        is_new = not _is_kept(within, digest_of(module))
        digest = modules.put(module, name=name)
    return modules.about(digest), is_new


def _is_kept(within: Gateway, digest: str) -> bool:
    try:
        within.service.modules.about(module_digest(digest))
    except ModuleMissingError:
        return False
    return True


def _view(stored: StoredModule) -> ModuleView:
    return ModuleView(
        digest=stored.digest,
        name=stored.name,
        size_bytes=stored.size_bytes,
        stored_at=to_rfc3339(stored.stored_at_ns),
    )


def _inspection(found: Inspection) -> InspectionView:
    return InspectionView(
        imports=tuple(_import(item) for item in found.imports),
        not_granted=tuple(item.name for item in found.not_granted),
        exports=tuple(
            ExportView(name=each.name, kind=each.kind, signature=each.signature, is_callable=each.is_callable)
            for each in found.exports
        ),
        exports_total=found.exports_total,
        functions=found.functions,
        code_bytes=found.code_bytes,
        memories=tuple(
            MemoryView(
                minimum_bytes=memory.minimum_bytes,
                maximum_bytes=None if memory.maximum is None else memory.maximum * memory.page_bytes,
            )
            for memory in found.memories
        ),
        tables=found.tables,
        has_start=found.start is not None,
        custom_sections=found.custom_sections,
        notes=found.notes,
    )


def _import(item: InspectedImport) -> ImportView:
    return ImportView(
        module=item.module,
        name=item.name,
        kind=item.kind,
        signature=item.signature,
        provision=item.provision.value,
        standing=item.grant.standing.value if item.grant else None,
        rule=item.grant.rule_id if item.grant else "",
        note=item.grant.note if item.grant else "",
    )
