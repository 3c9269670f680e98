"""`supervisor completion`."""

from __future__ import annotations

import click


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion_command(shell: str) -> None:
    """Print the completion script for SHELL.

    bash: supervisor completion bash > ~/.local/share/bash-completion/completions/supervisor
    """
    from click.shell_completion import get_completion_class

    from supervisor.cli.root import supervisor

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(supervisor, {}, "supervisor", "_SUPERVISOR_COMPLETE").source())
