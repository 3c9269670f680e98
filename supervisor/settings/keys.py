"""Keys: how a section declares them, in the core's dataclasses and in plugins' attrs classes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from supervisor.settings import values

# What brings a change of a key into force.
CONFIG_RELOAD = "config reload"
RELOAD = "reload"
RESTART = "restart"


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """One key of a section.

    name: as it is written in the file; field: of the class that holds its value; read: makes the
    value of its text, or raises ValueError with a sentence; required: the section cannot be without
    it; multi: may be repeated, the value is a tuple; change: what brings a change into force;
    secret: never shown, and NAMEFile may name a file that holds it. Texts: about: what it means,
    for the reference; unset: what counts while it has no value; empty: a warning where it is
    written and left empty; noted: one where it has a value.
    """

    name: str
    field: str
    read: Callable[[str], Any]
    default: Any
    required: bool = False
    multi: bool = False
    change: str = RELOAD
    secret: bool = False
    about: str = ""
    unset: str = ""
    empty: str = ""
    noted: str = ""


def key(
    name: str,
    read: Callable[[str], Any],
    default: Any,
    *,
    multi: bool = False,
    later: bool = False,
    reloadable: bool = False,
    fixed: bool = False,
    secret: bool = False,
    about: str = "",
    unset: str = "",
    empty: str = "",
    noted: str = "",
) -> Any:
    """Declare a key as the field of a dataclass; `Key` says what the texts are.

    later: accepted, so that files can be written for what comes, and warned of: no effect.
    reloadable: `supervisor config reload` brings a change into force: whoever uses the value must
    look at it anew (core.configured). fixed: a change needs a restart of the server.
    """
    metadata = declare(
        name, read, multi=multi, later=later, reloadable=reloadable, fixed=fixed, secret=secret,
        about=about, unset=unset, empty=empty, noted=noted,
    )  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def declare(
    name: str,
    read: Callable[[str], Any],
    *,
    multi: bool = False,
    later: bool = False,
    reloadable: bool = False,
    fixed: bool = False,
    secret: bool = False,
    about: str = "",
    unset: str = "",
    empty: str = "",
    noted: str = "",
) -> dict[str, Any]:
    """Give the metadata of a field that is a key; the arguments are those of `key`."""
    assert not (reloadable and fixed), name
    return {
        "name": name,
        "read": read,
        "multi": multi,
        "change": CONFIG_RELOAD if reloadable else RESTART if fixed else RELOAD,
        "secret": secret,
        "about": about or ("no effect yet" if later else ""),
        "unset": unset,
        "empty": empty,
        "noted": noted or ("has no effect yet" if later else ""),
    }


def keys_of(kind: type[Any]) -> dict[str, Key]:
    """Give the keys of a section's class, by their names in lower case.

    Of a plugin's attrs class, a field that is not declared has a key too: `api_version` is
    `ApiVersion`, and its default says what kind of value it takes: a tuple for several texts, a
    whole number, true or false, else a text.
    """
    if dataclasses.is_dataclass(kind):
        fields: list[Any] = list(dataclasses.fields(kind))
    else:
        fields = list(kind.__attrs_attrs__)
    found = {}
    for field in fields:
        metadata: Mapping[str, Any] = field.metadata
        if "name" not in metadata:
            metadata = _undeclared(field.name, field.default)
        required = _is_nothing(field.default)
        default = None if required or hasattr(field.default, "factory") else field.default
        made = Key(field=field.name, default=default, required=required, **metadata)
        found[made.name.lower()] = made
    return found


def _is_nothing(default: Any) -> bool:
    attrs = sys.modules.get("attr")  # loaded where there is a class of attrs, and only there
    nothing = dataclasses.MISSING if attrs is None else attrs.NOTHING
    return default is dataclasses.MISSING or default is nothing


def _undeclared(name: str, default: Any) -> dict[str, Any]:
    written = "".join(map(str.title, name.split("_")))
    read: Callable[[str], Any] = values.text
    if isinstance(default, bool):
        read = values.boolean
    elif isinstance(default, int):
        read = values.integer
    return declare(written, read, multi=isinstance(default, tuple))
