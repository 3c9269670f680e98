"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import attrs

from supervisor import Context, Runtime, hookimpl, setting, values
from supervisor_r.runtime import RRuntime


@attrs.frozen(kw_only=True)
class RSettings:
    """The section [R]. executable: paths of R, beside those found in the usual places."""

    section: ClassVar[str] = "R"

    executable: tuple[str, ...] = setting(
        "Executable",
        values.path,
        (),
        multi=True,
        about="an R beside those in the usual places; `RVersion` of `[Server]`, a directory such as"
        " `/opt/R/4.2.2`, means the same",
    )


@hookimpl
def supervisor_settings() -> Sequence[type[RSettings]]:
    """Give the section [R]."""
    return (RSettings,)


@hookimpl
def supervisor_runtimes(context: Context) -> Sequence[Runtime]:
    """Give the R runtime."""
    return (RRuntime(),)
