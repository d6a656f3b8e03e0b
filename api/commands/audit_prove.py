"""`wasmgate audit prove`: proofs that others can check without this log.

What a proof holds is `audit.tlog.tlog_proof` and `record_proof`; how it is gathered `audit.tlog.prover`.
INVARIANT: a proof that is written leads to a signed checkpoint.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option, open_log

if TYPE_CHECKING:
    from api.settings import Settings
    from audit.identity import ExecutionId
    from audit.tlog.prover import Prover


@click.command(name="prove", short_help="Write a proof of an execution, a record, or the log's growth.")
@audit_dir_option
@click.option("--seq", metavar="N", type=click.IntRange(min=0), help="Prove this record, not the receipt.")
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Folder to write to; made if it is not there.",
)
@click.option(
    "--consistency",
    metavar="FIRST SECOND",
    nargs=2,
    type=click.IntRange(min=1),
    help="Prove that the log's first FIRST leaves begin its first SECOND leaves.",
)
@click.argument("execution", required=False)
def COMMAND(  # noqa: N802  # as in every command file
    *,
    audit_dir: Path | None,
    seq: int | None,
    out: Path,
    consistency: tuple[int, int] | None,
    execution: str | None,
) -> None:
    """Write a proof that EXECUTION, or one record of it, is in the log, and print where.

    With --consistency the proof is printed as JSON; `wasmgate audit verify --proof` checks any of them.
    """
    from api.settings import SettingsError, load_settings
    from audit.errors import AuditError, FormatError
    from audit.identity import execution_id

    if (execution is None) == (consistency is None) or (consistency and seq is not None):
        raise click.UsageError("name an EXECUTION, with --seq for one record, or --consistency FIRST SECOND")
    if consistency and consistency[0] > consistency[1]:
        first, second = consistency
        says = f"FIRST is the smaller size: a log of {second} leaves cannot begin with {first}"
        raise click.UsageError(f"{says}; did you mean --consistency {second} {first}?")
    try:
        settings = load_settings(audit_dir=audit_dir)
        if consistency:
            click.echo(_growth(settings, *consistency))
            return
        exec_id = execution_id(execution or "")
    except (SettingsError, FormatError) as err:
        raise click.UsageError(str(err)) from err
    except AuditError as err:
        raise click.ClickException(str(err)) from err
    try:
        with open_log(settings.audit_dir):  # seals what an ended program left, and puts the read on record
            click.echo(_write(out, *_proof(_signed_prover(settings), exec_id, seq)))
    except (AuditError, OSError) as err:
        raise click.ClickException(str(err)) from err


def _proof(prover: Prover, exec_id: ExecutionId, seq: int | None) -> tuple[str, bytes]:
    """Name and bytes of a proof file."""
    from api.proving import canonical_records
    from audit.tlog.record_proof import SUFFIX as SUFFIX_OF_RECORD
    from audit.tlog.tlog_proof import SUFFIX as SUFFIX_OF_RECEIPT

    if seq is None:
        return f"{exec_id}{SUFFIX_OF_RECEIPT}", prover.receipt(exec_id).content
    return f"{exec_id}.{seq}{SUFFIX_OF_RECORD}", prover.record(exec_id, seq, canonical_records).content


def _signed_prover(settings: Settings) -> Prover:
    """Proofs about a log whose newest leaves are signed, as far as that can be done."""
    from api.proving import open_prover
    from api.signing import sign_once
    from audit.tlog.log import TransparencyLog

    prover = open_prover(settings.audit_dir)
    log = TransparencyLog(settings.audit_dir / "tlog")
    if log.size and prover.signed_size() < log.size:
        status = sign_once(settings)
        if status.problem:
            click.echo(f"the newest leaves are not signed: {status.problem}", err=True)
    return prover


def _growth(settings: Settings, first: int, second: int) -> str:
    """The proof as text, under a signed checkpoint if there is one."""
    from audit import canonical
    from audit.tlog.errors import UnprovableError

    prover = _signed_prover(settings)
    try:
        proof = prover.signed_growth(first, second)
    except UnprovableError as err:
        click.echo(f"nothing in this proof is signed, so that nobody can check it: {err}", err=True)
        proof = prover.growth(first, second).as_json()
    return canonical.dumps(proof).decode()


def _write(folder: Path, name: str, content: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    # a proof that is there already is written anew; a link in its place is not followed
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    return path
