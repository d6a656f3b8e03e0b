"""`wasmgate audit hash`: what a value is masked as, to search for it in records that have its hash only.

Masks and their keys are `audit.masks` and `audit.mask_keys`. INVARIANT: no key is shown, and none is made for
a tenant that has none yet: nothing in the log could have its hash.
"""

from __future__ import annotations

import click

from api.tables import output_option, write_json

_NO = 1


@click.command(name="hash", short_help="Hash a value as masked records have it.")
@click.argument("value")
@click.option("--tenant", metavar="NAME", default="default", show_default=True, help="Whose key is used.")
@output_option("text", "json")
def COMMAND(*, value: str, tenant: str, output: str) -> int:  # noqa: N802  # the name that every command file gives its command
    """Print what VALUE is stored as where a policy masks it with `hmac`, to search for it.

    VALUE is a path, spelt as a record has it: `/srv/in/bob.csv`.
    """
    from api.settings import SettingsError, load_settings
    from audit.mask_keys import FileMaskKeys, MaskKeyError, file_name
    from audit.masks import candidate
    from audit.text import from_host

    try:
        folder = load_settings().audit_keys_dir / "mask"
        name = from_host(tenant)
        if not (folder / f"{file_name(name)}.key").exists():
            raise click.ClickException(f"nothing of the tenant {tenant!r} was masked here: there is no key")
        found = candidate(FileMaskKeys(folder), name, from_host(value))
    except (SettingsError, MaskKeyError) as err:
        raise click.ClickException(str(err)) from None
    if output == "json":
        write_json({"tenant": tenant, "hash": found})
    else:
        click.echo(found)
    return 0
