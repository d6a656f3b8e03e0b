"""`wasmgate audit verify`: everything that the log claims, checked against files and a public key.

All checks are `audit.verify.standalone`, the same file that an auditor can run without this program;
`--write-verifier` hands it out. INVARIANT: nothing of the log is changed, nothing that writes it is asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from api.record_options import audit_dir_option
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from audit.verify.standalone import Key, Object, Report


@click.command(name="verify", short_help="Check the log against a public key.")
@audit_dir_option
@click.option("--key", metavar="VKEY|FILE", help="Public key of the log; this machine's own if not given.")
@click.option("--witness", metavar="VKEY|FILE", multiple=True, help="Key of a witness that must have signed.")
@click.option("--remember", metavar="FILE", help="Checkpoint seen last: find rollbacks, keep the new one.")
@click.option(
    "--proof",
    metavar="FILE",
    multiple=True,
    help="Check this proof of any kind; the log only with --audit-dir.",
)
@click.option("--locate", is_flag=True, help="Parse altered files too, to say which calls differ.")
@click.option(
    "--write-verifier", metavar="FILE", help="Write the verifier itself, for others; `-`: print it."
)
@output_option("table", "json")
def COMMAND(  # noqa: N802  # as in every command file
    *,
    audit_dir: Path | None,
    key: str | None,
    witness: tuple[str, ...],
    remember: str | None,
    proof: tuple[str, ...],
    locate: bool,
    write_verifier: str | None,
    output: str,
) -> int:
    """Check integrity, order and completeness of the log, and what was remembered of it.

    Ends with 0 if it verifies, 1 if not, 3 if not everything could be checked.
    """
    from audit.verify import standalone

    if write_verifier is not None:
        _hand_out(Path(standalone.__file__), write_verifier)
        return 0
    root, own = _places(audit_dir)
    try:
        keys = standalone.keys_of([key or own], witness)
    except standalone.Problem as err:
        raise click.UsageError(standalone.shown(str(err), 300)) from err
    folder = None if proof and audit_dir is None else str(root)
    try:
        report, proved = standalone.verify(folder, keys, remember=remember, proofs=proof, locate=locate)
    except OSError as err:
        raise click.ClickException(f"{err.filename}: {err.strerror}") from err
    _print(report, proved, keys, output=output)
    if key is None:
        click.echo("checked with this machine's own key; an outsider uses a copy kept elsewhere", err=True)
    return report.status


def _places(audit_dir: Path | None) -> tuple[Path, str]:
    from api.settings import SettingsError, load_settings

    try:
        settings = load_settings(audit_dir=audit_dir)
    except SettingsError as err:
        raise click.UsageError(str(err)) from err
    return settings.audit_dir, str(settings.audit_keys_dir / "signing.vkey")


def _hand_out(source: Path, target: str) -> None:
    content = source.read_bytes()
    try:
        with click.open_file(target, "wb") as file:
            file.write(content)
    except OSError as err:
        raise click.ClickException(f"{target}: {err.strerror}") from err


def _print(report: Report, proved: Sequence[Object], keys: Sequence[Key], *, output: str) -> None:
    if output == "json":
        write_json(report.as_json() | {"proved": proved, "keys": [key.vkey for key in keys]})
        return
    from audit.verify import standalone

    for line in standalone.lines(report, proved):
        click.echo(line)
