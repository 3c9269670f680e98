"""What the statuses of Pods mean. The objects are what clusters have said."""

from __future__ import annotations

from typing import Any

import pytest
from supervisor_executor_kubernetes.status import Doomed, entrance, gone, is_silent, observe, told

from supervisor import Cause, Exit, Pending, Running, TcpEndpoint


def pod(state: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    """Make a Pod whose container `content` is in a state; None: no container yet."""
    status.setdefault("phase", "Running")
    if state is not None:
        running = {"name": "access", "state": {"running": {}}}
        status["containerStatuses"] = [running, {"name": "content", "state": state}]
    return {"metadata": {"uid": "1"}, "status": status}


def terminated(code: int, reason: str = "Error", **fields: Any) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, **fields}}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return pod({"waiting": {"reason": reason, "message": message}}, phase="Pending")


def unschedulable(message: str) -> dict[str, Any]:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    }
    return pod(phase="Pending", conditions=[condition])


def seen(pod: dict[str, Any], *, asked: bool = False) -> object:
    return observe(pod, "secret", asked=asked)


def test_a_pod_that_runs_is_reached_at_its_address() -> None:
    endpoint = TcpEndpoint(host="fd00::7", port=8939, secret="secret")
    assert Running(endpoint=endpoint) == seen(pod({"running": {}}, podIP="fd00::7"))


def test_a_pod_takes_orders_while_its_content_runs_and_its_entrance_has_not_ended() -> None:
    assert "fd00::7" == entrance(pod({"running": {}}, podIP="fd00::7"))
    assert "" == entrance(pod({"running": {}}))
    assert "" == entrance(pod({"waiting": {}}, podIP="fd00::7"))
    assert "" == entrance(pod(terminated(0), podIP="fd00::7"))
    closed = pod({"running": {}}, podIP="fd00::7")
    closed["status"]["containerStatuses"][0]["state"] = terminated(1)
    assert "" == entrance(closed)


def test_a_pod_without_an_address_waits_for_one() -> None:
    assert isinstance(seen(pod({"running": {}})), Pending)


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (terminated(0, "Completed"), Exit(code=0, cause=Cause.FINISHED)),
        (terminated(3), Exit(code=3, cause=Cause.FAILED)),
        (terminated(139), Exit(signal=11, cause=Cause.FAILED)),
        (terminated(137, "OOMKilled"), Exit(signal=9, cause=Cause.MEMORY)),
        (terminated(1, "OOMKilled"), Exit(code=1, cause=Cause.MEMORY)),
    ],
)
def test_the_end_of_a_container_is_told_as_it_was(state: dict[str, Any], end: Exit) -> None:
    assert end == seen(pod(state))


def test_an_end_that_we_have_asked_for_is_a_stop_but_memory_is_memory() -> None:
    assert Exit(signal=15, cause=Cause.STOPPED) == seen(pod(terminated(143)), asked=True)
    out_of_memory = seen(pod(terminated(137, "OOMKilled")), asked=True)
    assert isinstance(out_of_memory, Exit)
    assert Cause.MEMORY is out_of_memory.cause


def test_a_program_that_is_not_in_the_image_fails_with_what_the_cluster_says() -> None:
    end = seen(pod(terminated(128, "StartError", message="exec: no such file")))
    assert isinstance(end, Exit)
    assert (None, None, Cause.FAILED) == (end.code, end.signal, end.cause)
    assert "no such file" in end.detail


def test_a_deadline_dooms_a_process_that_still_runs() -> None:
    late = pod({"running": {}}, phase="Failed", reason="DeadlineExceeded", message="too long")
    doomed = seen(late)
    assert isinstance(doomed, Doomed)
    assert (Cause.TOO_LONG, "DeadlineExceeded: too long") == (doomed.exit.cause, doomed.exit.detail)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ('Usage of EmptyDir volume "tmp" exceeds the limit "8Mi".', Cause.LIMIT),
        ("The node was low on resource: memory.", Cause.FAILED),
    ],
)
def test_an_eviction_is_a_limit_or_the_nodes_trouble(message: str, cause: Cause) -> None:
    end = seen(pod(terminated(137), phase="Failed", reason="Evicted", message=message))
    assert Exit(signal=9, cause=cause, detail=f"Evicted: {message}") == end


@pytest.mark.parametrize("reason", ["Evicted", "OutOfmemory", "Preempting", "NodeAffinity"])
def test_a_pod_that_was_rejected_before_it_had_containers_fails_with_the_reason(
    reason: str,
) -> None:
    end = seen(pod(phase="Failed", reason=reason, message="no room"))
    assert Exit(cause=Cause.FAILED, detail=f"{reason}: no room") == end


@pytest.mark.parametrize(
    "reason",
    ["ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"],
)
def test_what_never_comes_is_not_waited_for(reason: str) -> None:
    doomed = seen(waiting(reason, "why"))
    assert isinstance(doomed, Doomed)
    assert f"its Pod cannot start: {reason}: why" == doomed.exit.detail


def test_a_first_failed_pull_may_pass() -> None:
    assert Pending(reason="ErrImagePull: timeout") == seen(waiting("ErrImagePull", "timeout"))


def test_a_full_cluster_is_waited_for_and_a_missing_claim_is_not() -> None:
    full = seen(unschedulable("0/1 nodes are available: 1 Insufficient cpu."))
    assert isinstance(full, Pending)
    assert "Insufficient cpu" in full.reason
    missing = seen(unschedulable('persistentvolumeclaim "data" not found'))
    assert isinstance(missing, Doomed)
    assert '"data" not found' in missing.exit.detail


def test_creating_a_container_says_nothing_so_events_may() -> None:
    assert is_silent(seen(waiting("ContainerCreating")))  # type: ignore[arg-type]
    assert is_silent(seen(pod(phase="Pending")))  # type: ignore[arg-type]
    assert not is_silent(seen(waiting("ErrImagePull")))  # type: ignore[arg-type]


def event(reason: str, message: str, at: str, kind: str = "Warning") -> dict[str, Any]:
    return {"type": kind, "reason": reason, "message": message, "lastTimestamp": at}


def test_of_events_the_newest_trouble_is_told() -> None:
    events = [
        event("FailedScheduling", "new", "2026-01-01T00:00:02Z"),
        event("FailedScheduling", "old", "2026-01-01T00:00:01Z"),
        event("Pulled", "fine", "2026-01-01T00:00:03Z", "Normal"),
    ]
    assert ("FailedScheduling: new", False) == told(events)
    assert ("", False) == told([])


def test_an_image_that_is_being_pulled_is_what_a_pod_waits_for() -> None:
    at = "2026-01-01T00:00:0{}Z".format
    trouble = event("FailedScheduling", "no node yet", at(1))
    large = event("Pulling", 'Pulling image "large"', at(2), "Normal")
    small = event("Pulled", 'Container image "small" already present', at(2), "Normal")
    came = event("Pulled", 'Successfully pulled image "large" in 90s', at(3), "Normal")
    failed = event("Failed", "Failed to pull image", at(4))
    assert ('Pulling image "large"', False) == told([trouble, large, small])
    assert ("FailedScheduling: no node yet", False) == told([trouble, large, came])
    assert ("Failed: Failed to pull image", False) == told([large, failed])
    assert ("", False) == told([large, came])


@pytest.mark.parametrize(
    ("reason", "message", "in_vain"),
    [
        ("FailedCreate", "pods is forbidden: exceeded quota: small", True),
        ("FailedCreate", "Timeout: request did not complete", False),
        ("FailedMount", 'secret "x" not found', True),
        ("FailedMount", "timed out waiting for the condition", False),
    ],
)
def test_what_events_tell_may_be_in_vain(reason: str, message: str, in_vain: bool) -> None:
    assert (f"{reason}: {message}", in_vain) == told([event(reason, message, "1")])


def test_a_pod_that_is_gone_ended_as_it_last_was() -> None:
    assert Exit(code=0, cause=Cause.STOPPED) == gone(pod(terminated(0)), asked=True)
    assert Exit(cause=Cause.STOPPED) == gone(pod({"running": {}}), asked=True)
    assert Cause.LOST is gone(pod({"running": {}}), asked=False).cause
    assert Cause.LOST is gone(None, asked=False).cause


def test_who_took_a_pod_away_is_told_where_the_cluster_says_it() -> None:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": "for a more important Pod",
    }
    end = gone(pod({"running": {}}, conditions=[condition]), asked=False)
    assert "PreemptionByScheduler: for a more important Pod" == end.detail
