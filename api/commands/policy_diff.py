"""`wasmgate policy diff A B`: what one policy allows that the other does not, and a gate for merges.

The comparison is made in `policy/diff/`; here files are read and the result is printed. INVARIANT: with
`--no-new-access` the exit status is 0 only if it was shown that B allows nothing that A does not.
"""

from __future__ import annotations

import click

from api.library_options import library_options
from api.studying import plan_to_study
from api.tables import output_option, write_json

_NO = 1


@click.command("diff", short_help="Say what one policy allows that another does not.")
@click.option("--no-new-access", is_flag=True, help="Exit status 1 if B allows anything that A does not.")
@click.option(
    "--old-library", metavar="DIR", multiple=True, help="The library of A, where it is not that of B."
)
@output_option("table", "json")
@library_options
@click.argument("a")
@click.argument("b")
def COMMAND(  # noqa: N802  # the name that every command file gives its command
    *,
    a: str,
    b: str,
    no_new_access: bool,
    old_library: tuple[str, ...],
    output: str,
    library: tuple[str, ...],
    tenant: str | None,
) -> int:
    """Compare the policies in the files A and B, exactly: each difference comes with a call that shows it.

    Lines with + are what B allows more, - what it allows less, ~ what changed without being either; the
    last count as more for --no-new-access. < is where B keeps a weaker trail in the audit log, which
    --no-new-access refuses too, > where it keeps a stronger one. When a policy expires is not compared.
    """
    from policy.diff import TooDifferentError, diff
    from policy.diff.render import difference_as_json, render_difference

    plans = [plan_to_study(a, old_library or library, tenant), plan_to_study(b, library, tenant)]
    if plans[0] is None or plans[1] is None:
        return _NO
    try:
        found = diff(plans[0], plans[1])
    except TooDifferentError:
        click.echo("the rules of the two policies interlock too much: nothing is shown about them", err=True)
        return _NO
    if output == "json":
        write_json(difference_as_json(found))
    else:
        click.echo(render_difference(found), nl=False)
    if no_new_access and found.is_wider:
        click.echo("refused: B may allow what A does not", err=True)
        return _NO
    if no_new_access and found.is_weaker:
        click.echo("refused: B keeps a weaker trail than A", err=True)
        return _NO
    return 0
