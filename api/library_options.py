"""The options that every command about a policy takes: its library, and the tenant it is looked at for.

What a library is stands in `library.py`; who loads with these is `loading.py`. INVARIANT: the folder of
policies in the settings always counts, so that leaving `--library` out evades no boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

C = TypeVar("C", bound=Callable[..., object])


def library_options(command: C) -> C:
    """Add `--library DIR` (`library: tuple[str, ...]`) and `--tenant T` (`tenant: str | None`)."""
    return library_option(tenant_option()(command))


def library_option(command: C) -> C:
    """Add `--library DIR`, which may be given several times: `library: tuple[str, ...]`."""
    return click.option(
        "--library",
        multiple=True,
        metavar="DIR",
        help="A folder of baselines and boundaries; the settings' folder of policies counts as well.",
    )(command)


def tenant_option(default: str | None = None, *, is_required: bool = False) -> Callable[[C], C]:
    """Give the decorator that adds `--tenant T`: `tenant: str | None`."""
    return click.option(
        "--tenant",
        metavar="T",
        default=default,
        required=is_required,
        show_default=default is not None,
        callback=_check_tenant,
        help="The tenant that it is for.",
    )


def _check_tenant(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    from policy.rule_lines import NAME, NAME_WANTED

    # SECURITY: `${tenant}` puts it into paths
    if value is not None and not NAME.fullmatch(value):
        raise click.BadParameter(f"expected {NAME_WANTED}")
    return value
