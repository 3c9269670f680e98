"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from supervisor import Context, Runtime, hookimpl, setting, values
from supervisor_python.runtime import PythonRuntime


@attrs.frozen(kw_only=True)
class PythonSettings:
    """The section [Python]. executable: paths of interpreters, beside those in the usual places."""

    section: ClassVar[str] = "Python"

    executable: tuple[str, ...] = setting(
        "Executable",
        values.path,
        (),
        multi=True,
        about="a Python beside those in the usual places; one outside `/usr` also needs a"
        " `[Mount]` of its directory",
    )


@hookimpl
def supervisor_settings() -> Sequence[type[PythonSettings]]:
    """Give the section [Python]."""
    return (PythonSettings,)


@hookimpl
def supervisor_runtimes(context: Context) -> Sequence[Runtime]:
    """Give the Python runtime."""
    return (PythonRuntime(),)
