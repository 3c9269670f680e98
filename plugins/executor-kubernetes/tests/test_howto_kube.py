"""docs/howto/kubernetes.md, followed: its Role is enough, and its settings are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import yaml  # type: ignore[import-untyped]
from supervisor_executor_kubernetes.executor import KubernetesExecutor
from supervisor_executor_kubernetes.settings import KubernetesSettings

from supervisor import Cause, Context, Exit, Job, Plan, Purpose, new_run_id

if TYPE_CHECKING:
    from tests.kube.place import Place

PAGE = (Path(__file__).parents[3] / "docs" / "howto" / "kubernetes.md").read_text()


def blocks(language: str) -> Iterator[str]:
    """Give the samples of the page that are written in a language."""
    yield from re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def test_the_settings_of_the_page_are_read() -> None:
    (text,) = blocks("ini")
    settings = Context.of_text(text).read(KubernetesSettings)
    assert {"python", "r"} == settings.images.keys()
    assert ("content", "content-supervisor") == (settings.namespace, settings.claim)


@pytest.mark.system
async def test_the_role_of_the_page_is_enough(
    kube: Place, kube_namespace: str, kube_python_image: str, tmp_path: Path
) -> None:
    role: dict[str, Any] = yaml.safe_load(next(blocks("yaml")))
    assert "Role" == role["kind"]
    rights = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{kube_namespace}"
    kube.ask("POST", f"{rights}/roles", role)
    binding = {
        "metadata": {"name": "limited"},
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "Role",
            "name": role["metadata"]["name"],
        },
        "subjects": [{"kind": "User", "name": "limited"}],
    }
    kube.ask("POST", f"{rights}/rolebindings", binding)
    settings = KubernetesSettings(
        kubeconfig=str(kube.limited),
        namespace=kube_namespace,
        image=(kube_python_image,),
        image_pull_policy="Never",
    )
    executor = KubernetesExecutor(settings=settings, key_file=tmp_path / "key", forget_after=0.2)
    job = Job(
        run=new_run_id(),
        content=1,  # type: ignore[arg-type]
        purpose=Purpose.SERVE,
        plan=Plan(argv=("/bin/sh", "-c", "echo hello; sleep 600"), workdir="/tmp"),
        uid=50001,
        gid=50001,
    )
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            await nursery.start(executor.serve)
            assert [] == [finding for finding in await executor.check() if not finding.ok]
            receipt = await executor.start(job)
            async with aclosing(executor.output(receipt)) as chunks:
                assert b"hello\n" == (await anext(chunks)).data
            await executor.stop(receipt, 0.0)
            async with aclosing(executor.watch(receipt)) as observations:
                ended = [seen async for seen in observations][-1]
            assert isinstance(ended, Exit)
            assert Cause.STOPPED is ended.cause
            while await executor.list():  # noqa: ASYNC110
                await trio.sleep(0.2)
            nursery.cancel_scope.cancel()
