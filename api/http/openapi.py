"""The OpenAPI document: what FastAPI finds in the routers, the problems, and how to show the key.

Examples are in `examples.py`, models in `models.py` and `views.py`. There is no page that shows the document:
one would need scripts. INVARIANT: the document says the same on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi

from api.http.answers import JSON, NDJSON
from api.http.audit_models import AggregateRequest, ExportRequest, HashRequest, VerifyRequest
from api.http.guard import OPEN_PATHS
from api.http.models import RunRequest
from api.http.problems import ProblemView
from api.http.retention_models import HoldRequest, PruneRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from pydantic import BaseModel

    Part = dict[str, Any]

API_VERSION = "1"
DESCRIPTION = (
    "Runs WebAssembly that nobody trusts under a reviewed capability policy, and keeps evidence of each call."
    " Errors are problems of RFC 9457; text of guests in answers is hostile, and comes out as text only."
)
_BODIES = (RunRequest, AggregateRequest, ExportRequest, HashRequest, VerifyRequest, HoldRequest, PruneRequest)
_REF = "#/components/schemas/{model}"


def shown(
    description: str,
    example: object,
    *,
    model: type[BaseModel] | None = None,
    lines: object = None,
    headers: Mapping[str, str] | None = None,
) -> Part:
    """Describe an answer by an example; `model` if not the route's own, `lines` for one value a line.

    `headers` are described in a sentence each.
    """
    content: Part = {JSON: {"example": example}}
    found: Part = {"description": description, "content": content}
    if model is not None:
        found["model"] = model
    if lines is not None:
        content[NDJSON] = {"schema": {"type": "string"}, "example": lines}
    if headers is not None:
        found["headers"] = {
            name: {"description": about, "schema": {"type": "string"}} for name, about in headers.items()
        }
    return found


def body(content: dict[str, Part], *, example: object = None) -> Part:
    """Describe a body by media type and schema."""
    kinds = {kind: {"schema": schema} for kind, schema in content.items()}
    if example is not None:
        first = next(iter(kinds.values()))
        first["example"] = example  # type: ignore[assignment]  # an example is any value
    return {"requestBody": {"required": True, "content": kinds}}


def describe(app: FastAPI) -> Part:
    """Make the document."""
    document = get_openapi(title="wasmgate", version=API_VERSION, description=DESCRIPTION, routes=app.routes)
    components: Part = document.setdefault("components", {})
    schemas: Part = components.setdefault("schemas", {})
    for name, model in (("Problem", ProblemView), *((model.__name__, model) for model in _BODIES)):
        schema = model.model_json_schema(ref_template=_REF)
        schemas.update(schema.pop("$defs", {}))
        schemas[name] = {**schema, "title": name}
    components["schemas"] = dict(sorted(schemas.items()))
    components["securitySchemes"] = {
        "key": {
            "type": "http",
            "scheme": "bearer",
            "description": "A key as `wasmgate serve` or `wasmgate key new` showed it once.",
        }
    }
    document["security"] = [{"key": []}]
    for path in OPEN_PATHS:
        for operation in document["paths"][path].values():
            operation["security"] = []
            for status in ("401", "403"):
                operation["responses"].pop(status)
    return document
