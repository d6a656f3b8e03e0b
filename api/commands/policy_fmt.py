"""`wasmgate policy fmt`: documents in their canonical form.

What that is, and that comments stay, is `policy.fmt`'s matter; here files are read, compared and replaced.
INVARIANT: a file is replaced as a whole or not at all, and keeps its mode.
"""

from __future__ import annotations

import difflib
import os
import secrets
import stat
from pathlib import Path

import click

from api.tables import output_option, write_json

_BAD = 1


@click.command("fmt", short_help="Write documents in their canonical form.")
@click.option(
    "--check", "is_check", is_flag=True, help="Print what would change, and exit with 1 if anything."
)
@click.option("--write", "is_write", is_flag=True, help="Replace the files.")
@output_option("table", "json")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *, files: tuple[str, ...], is_check: bool, is_write: bool, output: str
) -> int:
    """Print each FILE in its canonical form: keys in their order, comments kept where they belong."""
    from api.loading import UnreadableError, show_policy_error
    from policy.errors import PolicyError

    if is_check and is_write:
        raise click.UsageError("--check and --write can't be given together")
    status = 0
    results: list[dict[str, object]] = []
    for file in files:
        try:
            before, after = _formatted(file)
            if is_write and after != before:
                _replace(file, after)
        except PolicyError as err:
            show_policy_error(err)
            results.append({"file": file, "is_valid": False})
            status = _BAD
            continue
        except UnreadableError as err:
            raise click.ClickException(str(err)) from err
        diff = "" if after == before else _diff(file, before, after)
        if is_check and diff:
            status = _BAD
        results.append(
            {"file": file, "is_valid": True, "is_canonical": not diff, "diff": diff, "text": after}
        )
        if output == "table":
            _say(file, diff, after, is_check=is_check, is_write=is_write)
    if output == "json":
        write_json({"files": results})
    return status


def _formatted(file: str) -> tuple[str, str]:
    """The text of a file as it is, and as it should be; raises UnreadableError and PolicyError."""
    from api.loading import UnreadableError, read_policy
    from policy.fmt import format_document

    if file.endswith((".json", ".toml")):
        raise UnreadableError("policy", file, "only YAML is formatted")
    text, _ = read_policy(file)
    after = format_document(text, file=file)
    return text.decode(), after


def _say(file: str, diff: str, after: str, *, is_check: bool, is_write: bool) -> None:
    from audit.inert import inert

    if is_check:
        click.echo(diff, nl=False)
    elif not is_write:
        click.echo(after, nl=False)
    elif diff:
        click.echo(f"formatted {inert(file)}")


def _diff(file: str, before: str, after: str) -> str:
    """What would change, fit to be shown: nothing in it drives a terminal."""
    from policy.errors import printable

    old, new = before.split("\n"), after.split("\n")
    name = printable(file)
    lines = difflib.unified_diff(old, new, name, f"{name} (canonical)", lineterm="")
    return "".join(f"{printable(line)}\n" for line in lines)


def _replace(file: str, text: str) -> None:
    """Put `text` in the place of a file, or of what a symbolic link leads to; raises UnreadableError."""
    from api.loading import UnreadableError

    try:
        path = Path(file).resolve(strict=True)
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise UnreadableError("policy", file, "not a regular file")
        fresh = path.with_name(f".{secrets.token_hex(8)}.tmp")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(fresh, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as out:
                out.write(text.encode())
                out.flush()
                os.fchmod(out.fileno(), stat.S_IMODE(found.st_mode))
                os.fsync(out.fileno())
            fresh.replace(path)
        except BaseException:
            fresh.unlink(missing_ok=True)
            raise
    except OSError as err:
        raise UnreadableError("policy", file, (err.strerror or "can't be written").lower()) from err
