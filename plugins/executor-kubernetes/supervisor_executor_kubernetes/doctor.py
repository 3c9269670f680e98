"""What `supervisor doctor` says of the cluster."""

from __future__ import annotations

from collections.abc import Sequence

from supervisor import Finding, SupervisorError
from supervisor_executor_kubernetes.client import Client
from supervisor_executor_kubernetes.errors import NotFound
from supervisor_executor_kubernetes.settings import KubernetesSettings

OLDEST = (1, 20)

# What the Role of the server must allow: verbs, API group, resource.
NEEDED = (
    ("create get list delete", "batch", "jobs"),
    ("get list watch delete", "", "pods"),
    ("get", "", "pods/log"),
    ("list", "", "events"),
)


async def check(client: Client, namespace: str, settings: KubernetesSettings) -> Sequence[Finding]:
    """Ask the API server who it is, what it allows us, and for the claim. Changes nothing."""
    findings = [await _version(client)]
    if not findings[0].ok:
        return findings
    findings.append(await _rights(client, namespace))
    if settings.claim:
        findings.append(await _claim(client, namespace, settings.claim))
    return findings


async def _version(client: Client) -> Finding:
    try:
        found = await client.get("/version")
    except SupervisorError as error:
        text, fix = error.message, error.hint
        return Finding(name="kubernetes", ok=False, text=text, fix=fix, fatal=True)
    numbers = [
        int("".join(filter(str.isdigit, str(found.get(part) or "0"))) or 0)
        for part in ("major", "minor")
    ]
    text = f"the API server answers: {found.get('gitVersion')}"
    if tuple(numbers) < OLDEST:
        return Finding(
            name="kubernetes", ok=False, text=f"{text}, which is older than 1.20", fatal=True
        )
    return Finding(name="kubernetes", ok=True, text=text)


async def _rights(client: Client, namespace: str) -> Finding:
    missing: list[str] = []
    for verbs, group, resource in NEEDED:
        for verb in verbs.split():
            if not await _may(client, namespace, verb, group, resource):
                missing.append(f"{verb} {resource}")
    if missing:
        return Finding(
            name="kubernetes-rights",
            ok=False,
            text=f"in the namespace {namespace} we may not {', '.join(missing)}",
            fix="Bind the Role of docs/howto/kubernetes.md to the server's account.",
            fatal=True,
        )
    return Finding(
        name="kubernetes-rights", ok=True, text=f"we may run Pods in the namespace {namespace}"
    )


async def _may(client: Client, namespace: str, verb: str, group: str, resource: str) -> bool:
    resource, _, sub = resource.partition("/")
    attributes = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
    if sub:
        attributes["subresource"] = sub
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await client.create("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
    return bool((answer.get("status") or {}).get("allowed"))


async def _claim(client: Client, namespace: str, name: str) -> Finding:
    path = f"/api/v1/namespaces/{namespace}/persistentvolumeclaims/{name}"
    try:
        found = await client.get(path)
    except NotFound:
        return Finding(
            name="kubernetes-claim",
            ok=False,
            text=f"the namespace {namespace} has no PersistentVolumeClaim {name!r}",
            fix="Create it, or set Claim in [Kubernetes].",
            fatal=True,
        )
    except SupervisorError as error:
        # the Role needs no right to look at claims
        return Finding(name="kubernetes-claim", ok=True, text=f"not looked at: {error.message}")
    phase = (found.get("status") or {}).get("phase")
    modes = (found.get("spec") or {}).get("accessModes") or []
    if phase != "Bound":
        text = f"the PersistentVolumeClaim {name!r} is {phase}, not Bound"
        return Finding(name="kubernetes-claim", ok=False, text=text)
    if "ReadWriteMany" not in modes:
        text = f"the PersistentVolumeClaim {name!r} is not ReadWriteMany: Pods of one node only"
        return Finding(name="kubernetes-claim", ok=True, text=text)
    return Finding(name="kubernetes-claim", ok=True, text=f"the claim {name!r} is bound")
