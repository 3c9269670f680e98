"""What a Pod's status means: waiting, running, ended and why. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs

from supervisor import Cause, Exit, Pending, Running, TcpEndpoint
from supervisor_executor_kubernetes.shape import ACCESS, CONTENT, PORT

Object = Mapping[str, Any]

# Waiting for these is in vain until a person does something.
_IN_VAIN = frozenset(
    "ErrImageNeverPull InvalidImageName ImageInspectError ImagePullBackOff "
    "CreateContainerConfigError CreateContainerError RunContainerError RegistryUnavailable "
    "CrashLoopBackOff".split()
)
_NOTHING_SAID = frozenset(("", "ContainerCreating", "PodInitializing"))
_NEVER_COMES = ("persistentvolumeclaim", "not found")  # in the words of the scheduler
_MOST = 500  # characters of a message of the cluster


@attrs.frozen
class Doomed:
    """Its end is certain, and its Pod must be removed before the end may be told."""

    exit: Exit


Seen = Pending | Running | Exit | Doomed


def observe(pod: Object, secret: str, *, asked: bool) -> Seen:
    """Say where a Pod stands. asked: we have ordered its end."""
    status: Object = pod.get("status") or {}
    content = _container(status)
    terminated = _state(content, "terminated")
    if terminated is not None:
        return ended(pod, asked=asked)
    if status.get("phase") in ("Failed", "Succeeded"):
        exit_ = ended(pod, asked=asked)
        # Kubernetes may say so while the process still runs: at a deadline, at an eviction.
        return Doomed(exit_) if _state(content, "running") is not None else exit_
    if _state(content, "running") is not None:
        address = status.get("podIP")
        if address:
            return Running(endpoint=TcpEndpoint(host=address, port=PORT, secret=secret))
        return Pending(reason="it has no address yet")
    return _waiting(status, content)


def ended(pod: Object, *, asked: bool) -> Exit:
    """Say how a Pod that has ended did so, from the best source that there is.

    That is the container's end, then what the Pod says of itself; a Pod may have been rejected
    before it had containers.
    """
    status: Object = pod.get("status") or {}
    said = _said(status.get("reason"), status.get("message"))
    terminated = _state(_container(status), "terminated") or {}
    reason = terminated.get("reason") or ""
    code, signal = _outcome(terminated)
    if reason in ("StartError", "ContainerCannotRun"):  # the program is not in the image
        text = _said(reason, terminated.get("message"))
        return Exit(cause=Cause.FAILED, detail=f"it could not be started: {text}")
    if reason == "OOMKilled":
        return Exit(code=code, signal=signal, cause=Cause.MEMORY)
    match status.get("reason"):
        case "DeadlineExceeded":
            return Exit(code=code, signal=signal, cause=Cause.TOO_LONG, detail=said)
        case "Evicted":
            ours = "emptydir" in said.lower() or "ephemeral" in said.lower()
            cause = Cause.LIMIT if ours else Cause.FAILED
            return Exit(code=code, signal=signal, cause=cause, detail=said)
        case "NodeLost":
            return Exit(cause=Cause.LOST, detail=said)
    if asked:
        return Exit(code=code, signal=signal, cause=Cause.STOPPED)
    if code == 0:
        return Exit(code=0, cause=Cause.FINISHED)
    disrupted = _disrupted(pod)
    detail = said or disrupted
    if not detail and reason not in ("", "Error", "Completed"):
        detail = _said(reason, terminated.get("message"))
    if code is None and signal is None:
        return Exit(cause=Cause.FAILED, detail=detail or "the cluster ended its Pod")
    return Exit(code=code, signal=signal, cause=Cause.FAILED, detail=detail)


def gone(pod: Object | None, *, asked: bool) -> Exit:
    """Say how a run ended whose Pod is not there any more; pod: its last form, if it was seen."""
    if pod is not None and _state(_container(pod.get("status") or {}), "terminated") is not None:
        return ended(pod, asked=asked)
    if asked:
        return Exit(cause=Cause.STOPPED)
    why = _disrupted(pod) if pod is not None else ""
    return Exit(cause=Cause.LOST, detail=why or "its Pod was deleted by somebody else")


def is_silent(seen: Seen) -> bool:
    """Tell whether a Pod waits without saying for what: its events may."""
    return isinstance(seen, Pending) and seen.reason in _NOTHING_SAID


def has_started(pod: Object) -> bool:
    """Tell whether the content's container has a log."""
    content = _container(pod.get("status") or {})
    return _state(content, "running") is not None or has_ended(pod)


def entrance(pod: Object) -> str:
    """Give the address where a Pod whose content runs takes the order to end; "" for none."""
    status: Object = pod.get("status") or {}
    runs = _state(_container(status), "running") is not None
    closed = _state(_container(status, ACCESS), "terminated") is not None
    return status.get("podIP") or "" if runs and not closed else ""


def has_ended(pod: Object) -> bool:
    """Tell whether the content's container has ended."""
    return _state(_container(pod.get("status") or {}), "terminated") is not None


def is_finished(job: Object) -> bool:
    """Tell whether Kubernetes makes no Pod for a Job any more."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    ends = ("Complete", "Failed")
    return any(each.get("type") in ends and each.get("status") == "True" for each in conditions)


def told(events: Sequence[Object]) -> tuple[str, bool]:
    """Give the newest of the events of a Pod or Job that says why it waits, and whether in vain.

    That is trouble, or an image that is being pulled.
    """
    there = {_image(event) for event in events if event.get("reason") == "Pulled"}
    waits = [event for event in events if event.get("type") == "Warning" or _pulls(event, there)]
    if not waits:
        return "", False
    newest = max(waits, key=_when)
    if _pulls(newest, there):
        return _said("", newest.get("message")), False
    reason, message = newest.get("reason") or "", newest.get("message") or ""
    text = _said(reason, message)
    # What a volume or the quota lacks may come, but not within the time that a visitor waits.
    if reason == "FailedCreate":
        return text, any(word in message for word in ("forbidden", "invalid", "not found"))
    return text, reason == "FailedMount" and "not found" in message


def _waiting(status: Object, content: Object) -> Seen:
    waiting = _state(content, "waiting") or {}
    reason = waiting.get("reason") or ""
    if reason in _IN_VAIN:
        return Doomed(_never(_said(reason, waiting.get("message"))))
    if reason not in _NOTHING_SAID:
        return Pending(reason=_said(reason, waiting.get("message")))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            text = _said(condition.get("reason"), condition.get("message"))
            if all(word in text for word in _NEVER_COMES):
                return Doomed(_never(text))
            return Pending(reason=text)
    return Pending(reason=reason)


def never(text: str) -> Doomed:
    """Give what is to be told of a Pod that will not come."""
    return Doomed(_never(text))


def _never(text: str) -> Exit:
    return Exit(cause=Cause.FAILED, detail=f"its Pod cannot start: {text}")


def _container(status: Object, name: str = CONTENT) -> Object:
    for container in status.get("containerStatuses") or ():
        if container.get("name") == name:
            found: Object = container
            return found
    return {}


def _state(container: Object, state: str) -> Object | None:
    found: Object | None = (container.get("state") or {}).get(state)
    return found


def _outcome(terminated: Object) -> tuple[int | None, int | None]:
    """Give code and signal: a container runtime tells a signal as 128 and its number."""
    code = terminated.get("exitCode")
    if terminated.get("signal"):
        return None, terminated["signal"]
    if isinstance(code, int) and 128 < code <= 128 + 64:
        return None, code - 128
    return code, None


def _disrupted(pod: Object) -> str:
    """Give who deletes the Pod and why, where the cluster says so (Kubernetes 1.26 and newer)."""
    for condition in (pod.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return _said(condition.get("reason"), condition.get("message"))
    deleted = (pod.get("metadata") or {}).get("deletionTimestamp")
    return "its Pod was deleted by somebody else" if deleted else ""


def _said(reason: object, message: object) -> str:
    """Join what the cluster says into one line."""
    text = ": ".join(" ".join(str(part).split()) for part in (reason, message) if part)
    return text if len(text) <= _MOST else f"{text[:_MOST]} ..."


def _pulls(event: Object, there: Collection[str]) -> bool:
    """Tell whether an event says that an image is pulled which is not there yet."""
    return event.get("reason") == "Pulling" and _image(event) not in there


def _image(event: Object) -> str:
    """Give the image that an event is about: the first text in quotes."""
    return (event.get("message") or "").partition('"')[2].partition('"')[0]


def _when(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or "")
