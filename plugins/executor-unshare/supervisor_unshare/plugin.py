"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Sequence

from supervisor import Context, Executor, hookimpl


@hookimpl
def supervisor_executors(context: Context) -> Sequence[Executor]:
    """Give the local executor; it connects when the core serves it."""
    from supervisor_unshare.executor import UnshareExecutor

    return [UnshareExecutor(run_dir=context.run_dir, data_dir=context.data_dir)]
