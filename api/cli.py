"""The command line: which commands there are, and what is common to all of them.

Each group is a file of `commands/`, imported when its command is used, so that help starts fast. What a
command does lives there. INVARIANT: a reader that goes away ends a command quietly, and nothing that the user
did wrong shows a traceback.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = ("demo", "run", "policy", "module", "audit", "serve", "key", "doctor")
"""In the order in which help shows them; each is `COMMAND` in `api/commands/NAME.py`."""

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells count
PIPE_CLOSED = 141  # 128 + SIGPIPE


class _Commands(click.Group):
    """The commands, imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names, in our order."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the file of a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"api.commands.{cmd_name}")
        return cast("click.Command", module.COMMAND)


def _show_version(ctx: click.Context, _option: click.Parameter, is_wanted: bool) -> None:  # noqa: FBT001  # as click calls it
    if is_wanted and not ctx.resilient_parsing:
        from api.version import program_version

        click.echo(f"wasmgate, version {program_version()}")
        ctx.exit()


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def wasmgate() -> None:
    """Run WebAssembly that nobody trusts under a reviewed policy, with every host call on record."""


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say, and give the exit status."""
    try:
        status = wasmgate.main(args=list(arguments), prog_name="wasmgate", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except click.ClickException as wrong:
        wrong.show()
        return wrong.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except (BrokenPipeError, SystemExit):  # click leaves so when it meets a closed pipe
        _forget_output()
        return PIPE_CLOSED
    except OSError as err:  # a full disk behind standard output, and the like
        _forget_output()
        click.echo(f"Error: {err.strerror or err}".replace("\n", " "), err=True)
        return FAILED
    return status if isinstance(status, int) else 0


def main() -> None:
    """The entry point of the program."""
    _fill_standard_streams()
    # A policy of 10,000 rules makes a million objects that stay: looking through them all over and over takes
    # a third of the time. Cycles are still found, fifty times less often.
    gc.set_threshold(50_000, 20, 20)
    sys.exit(run(sys.argv[1:]))


def _fill_standard_streams() -> None:
    """Open what the caller closed of descriptors 0 to 2."""
    # SECURITY: else the next file opened gets such a number, and a guest's output would go into it
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  # a descriptor
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # as above
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115  # as above


def _forget_output() -> None:
    """Let nothing that is still buffered complain when the interpreter ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


if __name__ == "__main__":
    main()
