"""Options that every command shares, and the context that they make."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from supervisor.cli.client import Client

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """What a command was asked for: which server, and whether it answers people or programs."""

    def __init__(self, *, socket: str | None, as_json: bool) -> None:
        self._socket = socket
        self.as_json = as_json

    def connect(self, patience: float | None = None) -> Client:
        """Connect to the server. Raises SupervisorError where none answers.

        patience: seconds that an answer may take (default: longer than any wait we ask for).
        """
        from supervisor.cli.client import ANSWER_TIMEOUT, Client
        from supervisor.cli.where import find_socket

        return Client(find_socket(self._socket), patience=patience or ANSWER_TIMEOUT)

    def json(self, value: object) -> None:
        """Print a value as one line of JSON."""
        click.echo(json.dumps(value))

    def note(self, text: str) -> None:
        """Tell a person how it goes; programs are not told."""
        if not self.as_json:
            click.echo(text, err=True)


def server_command(command: F) -> F:
    """Give a command --json and --socket, and a Session as its first argument."""

    @click.option("--json", "as_json", is_flag=True, help="Print JSON, also for errors.")
    @click.option(
        "--socket",
        metavar="PATH",
        envvar="SUPERVISOR_SOCKET",
        help="Socket of the server (default: found; also SUPERVISOR_SOCKET).",
    )
    @functools.wraps(command)
    def with_session(*args: Any, as_json: bool, socket: str | None, **kwargs: Any) -> Any:
        return command(Session(socket=socket, as_json=as_json), *args, **kwargs)

    return with_session  # type: ignore[return-value]


def complete_content(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Complete names of contents; silent where no server answers."""
    from supervisor.errors import SupervisorError

    try:
        with Session(socket=ctx.params.get("socket"), as_json=True).connect() as client:
            names = [item["name"] for item in client.get("/v1/content")]
    except (SupervisorError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]
