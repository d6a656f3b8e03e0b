"""The transparency log as others read it: its checkpoint, its tiles, and proofs about it.

Tiles and proofs are made by `audit.tlog`; entries are of all tenants, so they have a route and a permission
of their own. INVARIANT: what is served is a file that the head of the log covers, under the one name that it
has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Path, Query, Response

from api.control import Question
from api.http import audit_examples as examples
from api.http.access import Asking
from api.http.answers import BYTES, JSON, TEXT, harmless, plain_answer
from api.http.audit_models import ConsistencyQuery, InclusionQuery
from api.http.audit_views import ConsistencyView, RecordProofView
from api.http.execution_pages import known_execution
from api.http.gateway import Gateway, Within
from api.http.openapi import shown
from api.http.problems import Fault, Problem, problems
from api.proving import canonical_records, open_prover
from audit.identity import ExecutionId
from audit.inert import inert
from audit.tlog.errors import NoteError, RangeError, UnprovableError
from audit.tlog.log import TransparencyLog
from audit.tlog.merkle import HASH_BYTES
from audit.tlog.note import MAX_NOTE_BYTES
from audit.tlog.tile_files import read_file
from audit.tlog.tiles import ENTRIES, MAX_ENTRY_BYTES, parse_path, width_at

if TYPE_CHECKING:
    from audit.tlog.tiles import Tile

router = APIRouter(prefix="/v1/audit", tags=["integrity"])

TileLevel = Annotated[str, Path(pattern="^(0|[1-9][0-9]?)$", description="Level of the tile, 0 to 63.")]
TileName = Annotated[
    str, Path(min_length=1, max_length=80, description="Name below the level, as `x001/234.p/5`.")
]
_BYTES = {"description": "The file.", "content": {BYTES: {}}}


def log_of(within: Gateway) -> TransparencyLog:
    """Give the log of a service."""
    return TransparencyLog(within.service.settings.audit_dir / "tlog")


@router.get(
    "/checkpoint",
    operation_id="get_checkpoint",
    summary="Read the signed head of the log",
    response_class=Response,
    responses={
        **problems("not-found"),
        200: {"description": "A signed note.", "content": {TEXT: {"example": examples.CHECKPOINT}}},
    },
)
def get_checkpoint(within: Within) -> Response:
    """A C2SP checkpoint: name of the log, number of leaves, root, signatures."""
    try:
        content = read_file(log_of(within).directory / "checkpoint", most=MAX_NOTE_BYTES)
    except FileNotFoundError:
        raise Problem("not-found", "no head has been signed yet") from None
    return Response(content, 200, media_type=TEXT)


@router.get(
    "/tile/entries/{name:path}",
    operation_id="get_entries",
    summary="Read a bundle of entries of the log",
    response_class=Response,
    responses={**problems("not-found"), 200: _BYTES},
)
def get_entries(name: TileName, within: Within, asking: Asking) -> Response:
    """As C2SP tlog-tiles lays them out: 256 entries at most, of all tenants."""
    tile = _tile(f"tile/entries/{name}")
    content = _content(within, tile, each=MAX_ENTRY_BYTES + 2)
    question = Question(asking.actor, "get_entries", asking.scope_text, {"name": tile.path})
    within.reads.done(question, rows=tile.width)
    return Response(content, 200, media_type=BYTES)


@router.get(
    "/tile/{level}/{name:path}",
    operation_id="get_tile",
    summary="Read a tile of hashes of the log",
    response_class=Response,
    responses={**problems("not-found"), 200: _BYTES},
)
def get_tile(level: TileLevel, name: TileName, within: Within) -> Response:
    """As C2SP tlog-tiles lays them out: 256 hashes at most."""
    tile = _tile(f"tile/{level}/{name}")
    return Response(_content(within, tile, each=HASH_BYTES), 200, media_type=BYTES)


@router.get(
    "/proof/inclusion",
    operation_id="prove_inclusion",
    summary="Prove that an event is in the log",
    response_model=RecordProofView,
    responses={
        **problems("not-found", "unprovable", "too-many-pages"),
        200: shown("The proof, as `wasmgate audit prove` writes it.", examples.RECORD_PROOF),
    },
)
def prove_inclusion(within: Within, asking: Asking, query: Annotated[InclusionQuery, Query()]) -> Response:
    """The event's chunk, the way from there to its execution's receipt, and a tlog-proof of that."""
    known_execution(within, asking, query.exec_)
    try:
        with within.turns.pages.take(asking.key.mark):
            proof = open_prover(within.service.settings.audit_dir).record(
                ExecutionId(query.exec_), query.seq, canonical_records
            )
    except UnprovableError as err:
        raise Problem("unprovable", inert(str(err))) from err
    question = Question(asking.actor, "prove_inclusion", asking.scope_text, query.model_dump(by_alias=True))
    within.reads.done(question, rows=1)
    # the line end of the file is no part of the document: spelt as a character's number it would spoil it
    document = harmless(proof.content.decode().removesuffix("\n"))
    return Response(f"{document}\n".encode(), 200, media_type=JSON)


@router.get(
    "/proof/consistency",
    operation_id="prove_consistency",
    summary="Prove that the log only grew",
    response_model=ConsistencyView,
    responses={**problems("bad-filter"), 200: shown("The proof.", examples.CONSISTENCY)},
)
def prove_consistency(within: Within, query: Annotated[ConsistencyQuery, Query()]) -> Response:
    """That the tree of `second` leaves begins with that of `first` leaves; RFC 6962."""
    prover = open_prover(within.service.settings.audit_dir)
    try:
        second = prover.signed_size() if query.second is None else query.second
        return plain_answer(prover.growth(query.first, second).as_json())
    except RangeError as err:
        expected = f"sizes up to {err.size}, the smaller one first"
        fault = Fault(message=str(err), field="first", expected=expected)
        raise Problem("bad-filter", errors=[fault]) from err


def _tile(name: str) -> Tile:
    # SECURITY: one tile has one name, and no other text leads to a file
    try:
        return parse_path(name)
    except NoteError:
        raise Problem("not-found", "no tile has that name") from None


def _content(within: Gateway, tile: Tile, *, each: int) -> bytes:
    log = log_of(within)
    level = max(tile.level, 0)
    if tile.width <= width_at(ENTRIES if tile.level == ENTRIES else level, tile.index, log.size):
        try:
            return read_file(log.directory / tile.path, most=tile.width * each)
        except FileNotFoundError:
            pass
    raise Problem("not-found", "the log has no such tile; a partial one goes when the full one is there")
