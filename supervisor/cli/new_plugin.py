"""`supervisor new-plugin`: write a folder whose tests run at once, to begin a plugin with."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

import click

from supervisor.errors import SupervisorError

KINDS = ("executor", "runtime", "store")
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*\Z")


@click.command("new-plugin")
@click.argument("kind", type=click.Choice(KINDS))
@click.argument("name")
@click.option(
    "--in",
    "parent",
    metavar="DIR",
    default=".",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the folder is made (default: here).",
)
def new_plugin_command(kind: str, name: str, parent: Path) -> None:
    """Write the folder KIND-NAME: a plugin whose tests run at once."""
    if not _NAME.match(name) or len(name) > 40:
        raise SupervisorError(
            "bad-request",
            f"{name!r} cannot be the name of a plugin",
            hint="At most 40 of a-z, 0-9 and single dashes, a letter first, as in `my-cluster`.",
        )
    folder = parent / f"{kind}-{name}"
    write(kind, name, folder)
    click.echo(f"wrote {folder}; to see its tests pass:", err=True)
    click.echo(f"  cd {folder} && pip install -e '.[test]' && pytest", err=True)


def write(kind: str, name: str, folder: Path) -> None:
    """Write a plugin of this kind and name into a folder that is not there yet."""
    try:
        folder.mkdir(parents=True)
        _copy(files("supervisor").joinpath("skeletons", kind), folder, words(name))
    except FileExistsError:
        raise SupervisorError(
            "conflict", f"{folder} is already there", hint="Choose another name, or remove it."
        ) from None
    except OSError as error:
        raise SupervisorError(
            "not-allowed", f"{error.filename or folder} cannot be written: {error.strerror}"
        ) from None


def words(name: str) -> dict[str, str]:
    """Give what a skeleton's words stand for, for a plugin of this name."""
    return {
        "@name@": name,
        "@module@": name.replace("-", "_"),
        "@Class@": "".join(part.capitalize() for part in name.split("-")),
    }


def _copy(source: Traversable, target: Path, meanings: dict[str, str]) -> None:
    for entry in source.iterdir():
        path = target / _filled(entry.name, meanings).removesuffix(".txt")
        if entry.is_dir():
            path.mkdir()
            _copy(entry, path, meanings)
        else:
            path.write_text(_filled(entry.read_text("utf-8"), meanings), "utf-8")


def _filled(text: str, meanings: dict[str, str]) -> str:
    for word, meaning in meanings.items():
        text = text.replace(word, meaning)
    return text
