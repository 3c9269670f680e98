"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Sequence

from supervisor import Context, Executor, hookimpl
from supervisor_podman.executor import PodmanExecutor
from supervisor_podman.settings import PodmanSettings, read


@hookimpl
def supervisor_settings() -> Sequence[type[PodmanSettings]]:
    """Give the section [Podman]."""
    return (PodmanSettings,)


@hookimpl
def supervisor_executors(context: Context) -> Sequence[Executor]:
    """Give the executor where the configuration has the section [Podman]."""
    section = context.section("Podman")
    if not section:
        return []
    return [
        PodmanExecutor(
            settings=read(section),
            data_dir=context.data_dir,
            directory=f"{context.run_dir}/podman",
        )
    ]
