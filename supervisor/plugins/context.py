"""What a plugin knows when it registers, and how it declares the sections that it owns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from supervisor.errors import SupervisorError
from supervisor.settings.build import build, by_name, misnamed, of_section
from supervisor.settings.gcfg import Entry, parse
from supervisor.settings.keys import declare
from supervisor.settings.secrets import resolve

T = TypeVar("T")


def setting(
    name: str,
    read: Callable[[str], Any],
    default: Any = attrs.NOTHING,
    *,
    multi: bool = False,
    secret: bool = False,
    about: str = "",
    unset: str = "",
    empty: str = "",
    noted: str = "",
) -> Any:
    """Declare a key of a plugin's section, as a field of its attrs class.

    name: as the file has it; read: makes the value of its text, such as `values.duration`, and
    raises ValueError with a sentence for what does not fit; default: without one the key must be
    given; multi: may be repeated, the value is a tuple; secret: never shown, and NAMEFile may name
    a file that holds it, which the core's user must be able to read. about: what it means; unset:
    what counts while it has no value; empty, noted: warnings where it is empty, or has a value.
    """
    metadata = declare(
        name, read, multi=multi, secret=secret, about=about, unset=unset, empty=empty, noted=noted
    )
    return attrs.field(default=default, metadata=metadata)


class Context:
    """What a plugin may know when it registers.

    data_dir and run_dir are paths; settings maps a section's lower-case name to its keys (lower
    case), each with all its values in order; rootless says that the server runs without root.
    """

    def __init__(
        self,
        *,
        data_dir: str,
        run_dir: str,
        settings: Mapping[str, Mapping[str, Sequence[str]]],
        rootless: bool,
        entries: Sequence[Entry] | None = None,
    ) -> None:
        self.data_dir = data_dir
        self.run_dir = run_dir
        self.settings = settings
        self.rootless = rootless
        self._entries = list(_made_up(settings)) if entries is None else list(entries)

    @classmethod
    def of_text(
        cls, text: str, *, data_dir: str = "/nowhere", run_dir: str = "/nowhere"
    ) -> Context:
        """Give the context of a configuration with this text, for tests of a plugin's sections."""
        entries = list(parse(text, "test.gcfg"))
        settings: dict[str, dict[str, list[str]]] = {}
        for entry in entries:
            name = f' "{entry.subsection}"' if entry.subsection else ""
            keys = settings.setdefault(f"{entry.section.lower()}{name}", {})
            keys.setdefault(entry.key.lower(), []).append(entry.value)
        return cls(
            data_dir=data_dir, run_dir=run_dir, settings=settings, rootless=True, entries=entries
        )

    def section(self, name: str) -> Mapping[str, Sequence[str]]:
        """Give the keys of a section of the configuration, {} where it is absent."""
        return self.settings.get(name.lower(), {})

    def has(self, kind: type[Any]) -> bool:
        """Tell whether the configuration has a section of this class."""
        return bool(of_section(self._entries, kind.section))

    def read(self, kind: type[T]) -> T:
        """Give the section of this class with its values, or its defaults where it is absent.

        Raises SupervisorError, usually "settings-invalid", that names file, line and column.
        """
        return build(kind, self._entries_of(kind))

    def read_named(self, kind: type[T]) -> dict[str, T]:
        """Give the sections of this class by their names: `[Repository "CRAN"]` under CRAN.

        Such a class has `named: ClassVar[bool] = True`. Raises as `read`.
        """
        named = by_name(self._entries_of(kind))
        return {name: build(kind, entries) for name, entries in named.items()}

    def _entries_of(self, kind: type[Any]) -> list[Entry]:
        entries = of_section(self._entries, kind.section)
        problems: list[SupervisorError] = misnamed(kind, entries)
        for problem in problems:
            raise problem
        return resolve(entries, [kind])


def _made_up(settings: Mapping[str, Mapping[str, Sequence[str]]]) -> Sequence[Entry]:
    """Give entries of settings that come from no file, as tests have them."""
    return [
        Entry(
            section=header.partition(' "')[0],
            subsection=header.partition(' "')[2].removesuffix('"'),
            key=key,
            value=value,
            file="the settings",
            line=0,
        )
        for header, keys in settings.items()
        for key, values in keys.items()
        for value in values
    ]
