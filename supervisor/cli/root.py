"""The group of all commands, and what becomes of their errors."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence

import click

from supervisor import __version__
from supervisor.cli.show import printable
from supervisor.errors import SupervisorError

# command → module of supervisor.cli that holds it, in the order of --help
COMMANDS = {
    "setup": "serve",
    "serve": "serve",
    "deploy": "deploy",
    "list": "contents",
    "set": "set",
    "remove": "contents",
    "ps": "ps",
    "top": "top",
    "sessions": "sessions",
    "logs": "logs",
    "stop": "control",
    "restart": "control",
    "kill": "control",
    "config": "config",
    "reload": "control",
    "reopen-logs": "control",
    "gc": "upkeep",
    "backup": "upkeep",
    "restore": "upkeep",
    "path": "path",
    "doctor": "doctor",
    "plugins": "plugins",
    "leases": "leases",
    "migrate-store": "migrate",
    "new-plugin": "new_plugin",
    "completion": "completion",
}
INTERRUPTED = 130
BROKEN_PIPE = 141


class LazyGroup(click.Group):
    """A group that imports a command's module only when the command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command: module `x` of supervisor.cli calls it `x_command`, `-` being `_`."""
        module = COMMANDS.get(cmd_name)
        if module is None:
            return None
        loaded = importlib.import_module(f"supervisor.cli.{module}")
        command: click.Command = getattr(loaded, f"{cmd_name.replace('-', '_')}_command")
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="supervisor", message="%(prog)s %(version)s")
def supervisor() -> None:
    """Run Shiny apps, documents and APIs for others, safely."""


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and give its exit status; errors go to standard error in one piece."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = supervisor.main(given, prog_name="supervisor", standalone_mode=False)
        sys.stdout.flush()
    except SupervisorError as error:
        report(error, as_json="--json" in given)
        return error.exit_status
    except click.ClickException as error:
        if "--json" in given:
            report(SupervisorError("bad-request", error.format_message()), as_json=True)
        else:
            error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            return _pipe_closed()
        raise
    except SystemExit as error:  # click's own answer to a closed pipe, and completion's end
        return error.code if isinstance(error.code, int) else 1
    return status if isinstance(status, int) else 0


def report(error: SupervisorError, *, as_json: bool) -> None:
    """Print an error for its reader: a person on standard error, or a program as JSON."""
    if as_json:
        click.echo(json.dumps(error.as_json()), err=True)
        return
    click.echo(f"supervisor: {printable(error.message, lines=True)}", err=True)
    if error.hint:
        click.echo(f"  {printable(error.hint, lines=True)}", err=True)


def _pipe_closed() -> int:
    # The interpreter flushes standard output at its end; let that go nowhere, silently.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE
