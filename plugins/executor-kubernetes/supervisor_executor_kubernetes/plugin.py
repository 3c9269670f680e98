"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from supervisor import Context, Executor, hookimpl
from supervisor_executor_kubernetes.settings import KubernetesSettings


@hookimpl
def supervisor_settings() -> Sequence[type[KubernetesSettings]]:
    """Give the section [Kubernetes]."""
    return (KubernetesSettings,)


@hookimpl
def supervisor_executors(context: Context) -> Sequence[Executor]:
    """Give the Kubernetes executor where the configuration has the section [Kubernetes]."""
    if not context.has(KubernetesSettings):
        return []
    settings = context.read(KubernetesSettings)
    # imported only here: the HTTP client takes a third of a second
    from supervisor_executor_kubernetes.executor import KubernetesExecutor

    return [
        KubernetesExecutor(
            settings=settings, key_file=Path(context.data_dir, "db", "kubernetes.key")
        )
    ]
