"""`wasmgate policy resolve`: which policy governs a module for a tenant, and why.

What is decided is `policy.resolution`; a run without `--policy` asks the same. INVARIANT: the exit status is
0 only if exactly one policy governs, and it is there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import click

from api.library_options import tenant_option
from api.tables import output_option, write_json

if TYPE_CHECKING:
    from api.library import Folder
    from policy.resolution import Binding, Resolution
    from policy.subject import Subject

_NONE = 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@click.command(name="resolve", short_help="Say which policy governs a module.")
@tenant_option("default")
@click.option("--digest", metavar="SHA256", help="Ask about a module that is not here: MODULE is its name.")
@click.option(
    "--bindings",
    "folder",
    metavar="DIR",
    help="The folder that holds `resolution/`; that of the settings without it.",
)
@output_option("table", "json")
@click.argument("module", metavar="MODULE")
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *, module: str, tenant: str, digest: str | None, folder: str | None, output: str
) -> int:
    """Print the policy that governs MODULE, a file, for a tenant, and the steps that lead to it.

    Exit status 1 if none does, several could, or no document holds it.
    """
    from api.library import Folder, LibraryError
    from api.loading import UnreadableError, show_findings
    from api.resolving import BindingsError, resolution_of
    from api.settings import SettingsError, load_settings

    try:
        subject = _subject(module, tenant, digest)
        where = Folder(Path(folder), folder) if folder else Folder.of_settings(load_settings())
        found = resolution_of(where, subject)
        missing = _missing(where, found)
    except BindingsError as err:
        show_findings(err.findings)
        return _NONE
    except (UnreadableError, LibraryError, SettingsError) as err:
        raise click.ClickException(str(err)) from err
    status = _show(found, subject, output)
    if missing:
        click.echo(f"Error: {missing}, so nothing may run", err=True)
    return _NONE if missing else status


def _missing(where: Folder, found: Resolution) -> str | None:
    """Why the policy that governs can't be used, though a binding names it."""
    from api.library import LibraryError, load_library
    from policy.errors import PolicyError
    from policy.resolution import Resolved

    if not isinstance(found, Resolved):
        return None
    try:
        load_library([where]).policy(found.policy_name)
    except (LibraryError, PolicyError) as err:
        return str(err)
    return None


def _subject(module: str, tenant: str, digest: str | None) -> Subject:
    from api.loading import read_module
    from policy.subject import Subject
    from sandbox.admission import digest_of

    if digest is None:
        digest = digest_of(read_module(module))
    elif not _DIGEST.fullmatch(digest):
        raise click.UsageError("--digest: expected `sha256:` and 64 digits in lower case")
    return Subject(tenant=tenant, module_name=Path(module).name, module_digest=digest)


def _show(found: Resolution, subject: Subject, output: str) -> int:
    from policy.resolution import Ambiguous, NoPolicy, Resolved

    policy: str | None = None
    bindings: tuple[Binding, ...] = ()
    match found:
        case Resolved():
            policy, word, bindings = found.policy_name, "resolved", (found.binding,)
        case NoPolicy():
            word = "none"
        case Ambiguous():
            word, bindings = "ambiguous", found.bindings
        case _:
            assert_never(found)
    if output == "json":
        write_json(
            {
                "verdict": word,
                "policy": policy,
                "tenant": subject.tenant,
                "module": {"name": subject.module_name, "digest": subject.module_digest},
                "bindings": [_as_json(each) for each in bindings],
                "steps": list(found.chain),
            }
        )
    else:
        click.echo(_headline(policy, bindings))
        click.echo("\n".join(f"  {step}" for step in found.chain))
    return 0 if policy else _NONE


def _headline(policy: str | None, bindings: tuple[Binding, ...]) -> str:
    if policy:
        return f"policy {policy}"
    if not bindings:
        return "no policy: nothing may run"
    return f"ambiguous, nothing may run: {' and '.join(each.policy for each in bindings)}"


def _as_json(binding: Binding) -> dict[str, object]:
    return {
        "line": binding.line,
        "tenant": binding.tenant,
        "module": binding.module,
        "policy": binding.policy,
        "effect": binding.effect,
    }
