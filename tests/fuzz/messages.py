"""Fuzz what reaches the helper: any bytes are a checked request or are refused, soon and briefly.

`./dev fuzz [--seconds N] [ATHERIS ARGUMENTS]`. Guided by coverage from the seeds; what it finds is
written to the present directory as crash-* and can be given back as an argument.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    import atheris  # type: ignore[import-untyped, import-not-found, unused-ignore]

    sys.path.insert(0, str(Path(__file__).parents[2]))
    with atheris.instrument_imports(include=["supervisor", "supervisor_unshare", "json"]):
        from supervisor_unshare.requests import fields, jobs, rules, verbs

        from supervisor import packets
else:
    from supervisor_unshare.requests import fields, jobs, rules, verbs

    from supervisor import packets

SEEDS = Path(__file__).with_name("seeds")
CODES = {"bad-request", "job-refused", "run-as-refused"}
LONGEST = 1000  # characters of a reason
TABLES = (verbs.CORE_VERBS, verbs.GATEWAY_VERBS)
KINDS = tuple(
    rules.Rules(
        tier=tier,
        core_uid=100_005,
        core_gid=100_005,
        gateway_uid=100_006,
        gateway_gid=100_006,
        uid_first=100_000,
        uid_last=100_010,
        trees=("/usr", "/bin"),
        executables=("/opt/python",),
        libraries=("R-4.2",),
    )
    for tier in (rules.ROOT, rules.ROOTLESS)
)


def look(data: bytes) -> None:
    """Send bytes over a socket as a peer would, and read them as the helper does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        theirs.send(data[: packets.LIMIT + 1])
        try:
            packet = packets.receive(ours)
        except packets.BadPacket:
            return
    if packet is None:
        return
    message, fds = packet
    assert not fds
    for kind in KINDS:
        for table in TABLES:
            _read(message, kind, table)


def _read(message: packets.Message, kind: rules.Rules, table: dict[str, verbs.Checks]) -> None:
    try:
        request = verbs.parse(message, kind, table)
    except fields.Refused as refused:
        _check_reason(refused.code, str(refused))
        return
    assert request.verb in table
    assert set(request.arguments) == set(table[request.verb])
    job = request.arguments.get("job")
    if isinstance(job, jobs.Job):
        _check(job, kind)


def _check_reason(code: str, reason: str) -> None:
    assert code in CODES, code
    assert 0 < len(reason) <= LONGEST, reason


def _check(job: jobs.Job, kind: rules.Rules) -> None:
    """Hold what a job that has passed may be, whatever it was made of."""
    assert job.argv[0].startswith(("/usr/", "/bin/", "/opt/python"))
    assert "\0" not in "".join((*job.argv, *job.env, *job.env.values(), job.workdir))
    if kind.tier == rules.ROOT:
        assert 100_000 < job.uid <= 100_010
        assert job.uid not in (kind.core_uid, kind.gateway_uid)
    for mount in job.mounts:
        assert "/../" not in f"{mount.at}/"
        assert not mount.place.ids or mount.place.ids[0] == job.content


def main() -> None:
    """Fuzz for so many seconds; a finding ends the program with its own status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    given, rest = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as found:
        limits = [f"-max_total_time={given.seconds}", "-timeout=2", "-rss_limit_mb=1024"]
        sizes = ["-max_len=8192", "-print_final_stats=1", "-verbosity=0"]
        dictionary = f"-dict={SEEDS.parent / 'words.dict'}"
        corpus = [] if any(not word.startswith("-") for word in rest) else [found, str(SEEDS)]
        atheris.Setup([sys.argv[0], *limits, *sizes, dictionary, *rest, *corpus], look)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
