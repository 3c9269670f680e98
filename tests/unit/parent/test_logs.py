"""The parent's files: opened so that nobody is held up, and by nobody else's wish."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.errors import SupervisorError
from supervisor.parent.logs import Audit, Logs
from supervisor.settings.sections import Logging


def logging(tmp_path: Path, **targets: str) -> Logging:
    paths = {name: str(tmp_path / value) for name, value in targets.items()}
    return Logging(**{"service": "NONE", "audit": "NONE", **paths})


def test_a_file_is_made_for_its_owner_and_the_administrators(tmp_path: Path) -> None:
    logs = Logs(logging(tmp_path, service="new/service.log", access="access.log"))
    assert logs.access is not None
    os.write(logs.service, b"one\n")
    logs.close()
    found = (tmp_path / "new" / "service.log").stat()
    assert (0o640, "one\n") == (
        stat.S_IMODE(found.st_mode),
        (tmp_path / "new" / "service.log").read_text(),
    )


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("before\n")
    logs = Logs(logging(tmp_path, access="log"))
    assert logs.access is not None
    os.write(logs.access, b"after\n")
    logs.close()
    assert "before\nafter\n" == (tmp_path / "log").read_text()


def test_a_moved_file_is_followed_by_a_new_one_under_the_same_number(tmp_path: Path) -> None:
    logs = Logs(logging(tmp_path, service="s", audit="a"))
    number = logs.service
    for name in ("s", "a"):
        (tmp_path / name).rename(tmp_path / f"{name}.1")
    os.write(logs.service, b"late\n")
    assert [] == logs.reopen()
    os.write(number, b"new\n")
    logs.audit.write({"action": "deploy"})
    logs.close()
    assert ("late\n", "new\n") == ((tmp_path / "s.1").read_text(), (tmp_path / "s").read_text())
    assert ("", " audit deploy\n") == (
        (tmp_path / "a.1").read_text(),
        (tmp_path / "a").read_text()[24:],
    )


def test_a_file_that_cannot_be_opened_again_leaves_the_old_one(tmp_path: Path) -> None:
    logs = Logs(logging(tmp_path, service="s", access="gone/access"))
    (tmp_path / "gone" / "access").unlink()
    (tmp_path / "gone" / "access").mkdir()
    (problem,) = logs.reopen()
    assert "gone/access" in problem
    logs.close()


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "directory", "stranger's"])
def test_what_is_no_file_of_ours_alone_is_refused(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "log", tmp_path / "other"
    other.write_text("")
    if kind == "link":
        path.symlink_to(other)
    elif kind == "hard link":
        os.link(other, path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif os.geteuid() == 0:
        path.write_text("")
        os.chown(path, 12345, 12345)
    else:
        pytest.skip("needs root")
    with pytest.raises(SupervisorError) as error:
        Logs(logging(tmp_path, access="log"))
    assert "log-unusable" == error.value.code


@pytest.mark.parametrize("other", ["service", "access"])
def test_the_audit_log_shares_its_file_with_no_other(tmp_path: Path, other: str) -> None:
    with pytest.raises(SupervisorError) as error:
        Logs(logging(tmp_path, audit="log", **{other: "log"}))
    assert "log-unusable" == error.value.code
    assert f"{tmp_path}/log would be the audit log and the {other} log" == error.value.message


def test_another_way_to_the_audit_log_is_refused_too(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "way").symlink_to("real")
    with pytest.raises(SupervisorError, match="would be the audit log"):
        Logs(logging(tmp_path, access="real/log", audit="way/log"))


def test_what_was_the_audit_log_becomes_no_other(tmp_path: Path) -> None:
    logs = Logs(logging(tmp_path, access="a", audit="audit"))
    (tmp_path / "audit").rename(tmp_path / "a")
    (problem,) = logs.reopen()
    logs.close()
    assert f"{tmp_path}/a would be the audit log and the access log" == problem


def test_audit_and_service_log_may_share_the_stream_but_not_its_file(tmp_path: Path) -> None:
    script = """
import sys
from supervisor.errors import SupervisorError
from supervisor.parent.logs import Logs
from supervisor.settings.sections import Logging
Logs(Logging(service="STDERR", audit="STDERR")).close()
try:
    Logs(Logging(service="STDERR", audit=sys.argv[1]))
except SupervisorError as error:
    print(error.code)
"""
    with (tmp_path / "log").open("ab") as stream:
        command = [sys.executable, "-c", script, str(tmp_path / "log")]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=stream, timeout=30)
    assert (0, b"log-unusable\n") == (done.returncode, done.stdout)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize(
    ("mode", "owner", "problem"),
    [
        (0o777, 0, "can be written by everybody"),
        (0o775, 0, "can be written by the group 12345"),
        (0o755, 12345, "belongs to uid 12345"),
    ],
)
@pytest.mark.parametrize("below", ["", "below/"])
def test_root_writes_no_log_where_others_could_put_a_link(
    tmp_path: Path, mode: int, owner: int, problem: str, below: str
) -> None:
    place = tmp_path / "place"
    (place / below).mkdir(parents=True)
    os.chown(place, owner, 12345)
    place.chmod(mode)
    with pytest.raises(SupervisorError) as error:
        Logs(logging(tmp_path, access=f"place/{below}log"))
    assert "log-unusable" == error.value.code
    assert f"the directory {place} {problem}" in error.value.message
    assert not (place / below / "log").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_a_sticky_directory_of_root_will_do(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    (tmp_path / "place").chmod(0o1777)
    Logs(logging(tmp_path, access="place/log")).close()
    assert (tmp_path / "place" / "log").exists()


def test_a_pipe_as_standard_error_does_not_block_and_its_other_users_do_not_notice() -> None:
    script = """
import os, fcntl
from supervisor.parent.logs import Logs
from supervisor.settings.sections import Logging
logs = Logs(Logging(service="STDERR", audit="STDERR"))
try:
    while True:
        os.write(logs.service, b"x" * 4096)
except BlockingIOError:
    pass
logs.audit.write({"action": "stop"})
print("blocking", os.get_blocking(2))
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert b"blocking True\n" == process.stdout.read()
        assert 0 == process.wait(10)


def test_an_audit_record_is_one_line_whatever_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for form in ("TEXT", "JSON"):
        Audit(fd, form, clock=lambda: 0.0).write(
            {
                "action": "set",
                "type": "audit",
                "uid": 0,
                "set_title": 'a\nb "c" \x1b[31m\u2028',
                "Bad Name": "left out",
                "time": "2000",
                "long": "x" * 5000,
            }
        )
    os.close(fd)
    text, record = path.read_text().splitlines()
    assert text.startswith(
        '1970-01-01T00:00:00.000Z audit set uid=0 set_title="a\\nb \\"c\\" \\u001b[31m\\u2028"'
    )
    found = json.loads(record)
    assert ("audit", "set", "2000") == (found["log"], found["action"], found["time_"])
    assert 2006 == len(found["long"])
    assert "Bad Name" not in found


def test_an_action_that_is_none_is_said_to_be_unknown(tmp_path: Path) -> None:
    path = tmp_path / "audit"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    Audit(fd, "TEXT").write({"action": "a b\n2026 audit deploy"})
    os.close(fd)
    assert path.read_text().endswith("Z audit unknown\n")
