"""The parent as root: identities, who may reach which socket, setup, pid 1, privileged ports."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor.parent import unit as units
from supervisor.settings import configure
from tests.unit.parent.harness import CORE, GATEWAY, Server, server, wait_for

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]
STRANGER = 61999


def unshare_works(*flags: str) -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run(["unshare", *flags, "true"], capture_output=True).returncode == 0
    )


def as_user(uid: int, act: Callable[[], object]) -> str:
    """Act as another user in a process of its own; give the name of the error, or "fine"."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            act()
            os.write(writing, b"fine")
        except OSError as error:
            os.write(writing, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(pid, 0)
    with os.fdopen(reading) as file:
        return file.read()


def test_each_child_has_an_identity_of_its_own() -> None:
    with server() as one:
        one.start().ready()
        ids = {note["name"]: note["ids"] for note in one.notes(event="started")}

        assert [[CORE] * 3, [CORE] * 3, [GATEWAY]] == ids["core"]
        assert [[GATEWAY] * 3, [GATEWAY] * 3, []] == ids["gateway"]
        assert [[0] * 3, [0] * 3, []] == ids["helper"]


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("core", {CORE, GATEWAY, 61004}),
        ("link", {GATEWAY}),
        ("helper", {CORE}),
        ("helper-connect", {GATEWAY}),
    ],
)
def test_a_socket_lets_in_whom_it_is_for(name: str, allowed: set[int]) -> None:
    with server() as one:
        one.start().ready()
        people = (CORE, GATEWAY, 61004, STRANGER)
        answers = {uid: as_user(uid, lambda: one.ask(name)) for uid in people}

        expected = {uid: "fine" if uid in allowed else "PermissionError" for uid in people}
        assert expected == answers


def test_nobody_but_core_and_root_enters_the_data_directory() -> None:
    with server() as one:
        one.start().ready()
        data = one.directory / "data"

        for name in ("db", "apps"):
            assert "fine" == as_user(CORE, lambda name=name: os.listdir(data / name))  # type: ignore[misc]
            for uid in (GATEWAY, STRANGER):
                assert "PermissionError" == as_user(uid, lambda: os.listdir(data / "db"))
        assert "PermissionError" == as_user(CORE, lambda: os.mkdir(data / "apps" / "1"))
        assert "PermissionError" == as_user(CORE, lambda: os.rename(data / "apps", data / "old"))


def test_a_configuration_that_others_can_write_is_refused_as_root() -> None:
    with server() as one:
        one.config.chmod(0o666)
        one.start()

        assert 77 == one.wait()
        assert f"{one.config} can be written by everybody" in one.log()


def test_a_user_that_is_missing_is_named_with_the_way_to_make_it() -> None:
    with server() as one:
        text = one.config.read_text().replace(f"CoreUser = {CORE}", "CoreUser = no-such-user")
        one.config.write_text(text)
        one.start()

        assert 78 == one.wait()
        assert "there is no user 'no-such-user'" in one.log()
        assert "supervisor setup" in one.log()


def test_a_data_dir_that_the_core_cannot_reach_is_refused_with_the_closed_directory() -> None:
    with server() as one:
        closed = one.directory / "closed"
        closed.mkdir(mode=0o700)
        text = one.config.read_text()
        one.config.write_text(text.replace(f"{one.directory}/data", f"{closed}/data"))
        one.start()

        assert 73 == one.wait()
        assert f"the user {CORE} cannot enter {closed}, and needs {closed}/data" in one.log()
        assert [] == one.notes()


def test_without_root_it_serves_as_the_caller() -> None:
    uid = 61005
    with server() as one:
        os.chown(one.directory, uid, uid)
        one.start(uid=uid, environ={"HOME": str(one.directory)}).ready()

        for note in one.notes(event="started"):
            assert [[uid] * 3, [uid] * 3, []] == note["ids"]
        assert f"tier rootless (uid {uid})" in one.log()
        assert 0o700 == (one.directory / "data").stat().st_mode & 0o777
        assert 0o700 == one.run_dir.stat().st_mode & 0o777
        assert "PermissionError" == as_user(STRANGER, lambda: one.ask("core"))
        assert one.ask_http().startswith("http-0 ")
        one.signal(signal.SIGTERM)
        assert 0 == one.wait()


@pytest.mark.skipif(not unshare_works("-n"), reason="not on this kernel: unshare -n")
def test_root_hands_a_privileged_port_to_the_gateway() -> None:
    with server() as one:
        one.config.write_text(one.config.read_text().replace(f":{one.port}\n", ":80\n"))
        script = (
            "import fcntl, socket, struct, subprocess, sys, time\n"
            "with socket.socket() as sock:  # SIOCSIFFLAGS: set lo up\n"
            "    fcntl.ioctl(sock, 0x8914, struct.pack('16sH22x', b'lo', 1))\n"
            "server = subprocess.Popen(sys.argv[1:])\n"
            "end = time.monotonic() + 10\n"
            "while time.monotonic() < end:\n"
            "    try:\n"
            "        with socket.create_connection(('127.0.0.1', 80), timeout=5) as sock:\n"
            # one write: others write there too
            "            answer = sock.recv(100).decode()\n"
            "            sys.stdout.write(f'answer {answer}\\n')\n"
            "        break\n"
            "    except ConnectionRefusedError:\n"
            "        time.sleep(0.01)\n"
            "server.terminate()\n"
            "raise SystemExit(server.wait(10))\n"
        )
        one.start(within=("unshare", "-n", sys.executable, "-c", script))

        assert 0 == one.wait(20)
        assert "answer http-0 " in one.log()
        assert GATEWAY == one.note("gateway", "started")["ids"][0][0]


@pytest.mark.skipif(
    not unshare_works("-pf", "--mount-proc"), reason="not on this kernel: unshare -pf --mount-proc"
)
def test_as_pid_1_it_reaps_the_orphans_of_others() -> None:
    with server(settings="[Logging]\nServiceLogLevel = debug\n") as one:
        one.start(
            within=("unshare", "-pf", "--mount-proc", "--kill-child"),
            do={"gateway": ["orphans:20"]},
        ).ready()

        wait_for(lambda: one.log().count("orphan-reaped") == 20)
        assert 1 == len(one.notes("gateway", "started"))


SETUP = """
import json, sys
from supervisor.parent.setup import run_setup
from supervisor.settings import load
systemd = "systemd" in sys.argv[2:]
print(json.dumps(run_setup(load(), print_only=sys.argv[1] == "print", systemd=systemd)))
"""


def in_a_machine_of_its_own(directory: Path, script: str) -> str:
    """Run a shell script where /etc and /var/lib are copies that nobody else sees."""
    if not (directory / "etc").exists():
        (directory / "etc").mkdir()
        for name in ("passwd", "group", "shadow", "gshadow", "login.defs", "nsswitch.conf"):
            if os.path.exists(f"/etc/{name}"):
                shutil.copy(f"/etc/{name}", directory / "etc" / name)
        for account in ("passwd", "group", "shadow", "gshadow"):
            file = directory / "etc" / account
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if "content-supervisor" not in line))
        (directory / "lib").mkdir()
    mounts = f"mount --bind {directory}/etc /etc && mount --bind {directory}/lib /var/lib"
    mounts += "\n[ ! -d /run/systemd ] || mount -t tmpfs none /run/systemd"  # not this one's
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", f"{mounts}\n{script}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 0 == done.returncode, done.stderr
    return done.stdout


def setup_in(directory: Path, how: str) -> list[str]:
    code = directory / "setup.py"
    code.write_text(SETUP)
    output = in_a_machine_of_its_own(directory, f"{sys.executable} -I {code} {how}")
    said: list[str] = json.loads(output)
    return said


def snapshot(directory: Path) -> dict[str, tuple[int, int, int, bytes]]:
    found = {}
    for path in sorted(directory.rglob("*")):
        status = path.stat()
        content = path.read_bytes() if path.is_file() else b""
        found[str(path)] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


@pytest.mark.skipif(not unshare_works("-m"), reason="not on this kernel: unshare -m")
def test_setup_makes_what_is_missing_and_twice_is_once(tmp_path: Path) -> None:
    printed = setup_in(tmp_path, "print")
    untouched = snapshot(tmp_path)
    assert printed == setup_in(tmp_path, "print")
    assert untouched == snapshot(tmp_path)
    assert "groupadd --system content-supervisor" in printed
    assert any(line.startswith("useradd ") and "nologin" in line for line in printed)

    done = setup_in(tmp_path, "do")
    after = snapshot(tmp_path)
    assert printed == done
    assert [] == setup_in(tmp_path, "do")
    assert after == snapshot(tmp_path)

    group = (tmp_path / "etc" / "group").read_text().splitlines()
    assert any(
        line.startswith("content-supervisor-gw:") and line.endswith(":content-supervisor")
        for line in group
    )
    passwd = (tmp_path / "etc" / "passwd").read_text().splitlines()
    assert 3 == sum(line.startswith("content-supervisor") for line in passwd)
    data = tmp_path / "lib" / "content-supervisor"
    assert 0o750 == data.stat().st_mode & 0o777
    assert 0 == (data / "apps").stat().st_uid
    assert 0 != (data / "db").stat().st_uid
    assert 0o600 == (tmp_path / "etc/content-supervisor/supervisor.gcfg").stat().st_mode & 0o777


@pytest.mark.skipif(not unshare_works("-m"), reason="not on this kernel: unshare -m")
def test_setup_writes_the_unit_once_and_leaves_one_of_somebody_else(tmp_path: Path) -> None:
    setup_in(tmp_path, "do")
    unit = tmp_path / "etc/systemd/system/content-supervisor.service"
    unit.parent.mkdir(parents=True)
    wanted = units.text(configure([]), {})
    written, enabled = setup_in(tmp_path, "print systemd")
    assert written == f"tee /{unit.relative_to(tmp_path)} <<'END'\n{wanted}END"
    assert not unit.exists()
    assert "systemctl enable content-supervisor.service" == enabled

    assert [written, enabled] == setup_in(tmp_path, "do systemd")
    assert wanted == unit.read_text()
    assert (unit.parent / "multi-user.target.wants" / unit.name).is_symlink()
    assert [] == setup_in(tmp_path, "do systemd")

    unit.write_text("[Service]\nExecStart=/usr/bin/other\n")
    with pytest.raises(AssertionError, match="was not written by `supervisor setup`"):
        setup_in(tmp_path, "do systemd")


@pytest.mark.skipif(not unshare_works("-m"), reason="not on this kernel: unshare -m")
def test_the_users_made_by_setup_are_those_that_serve_uses(tmp_path: Path) -> None:
    setup_in(tmp_path, "do")
    tmp_path.chmod(0o711)
    with server() as one:
        one.config.write_text(
            f"[Server]\nRunDir = {one.run_dir}\n[HTTP]\nListen = 127.0.0.1:{one.port}\n"
        )
        serve_as_set_up(one, tmp_path)


def serve_as_set_up(one: Server, machine: Path) -> None:
    mounts = f"mount --bind {machine}/etc /etc && mount --bind {machine}/lib /var/lib"
    one.start(within=("unshare", "-m", "sh", "-ec", f'{mounts}; exec "$@"', "sh")).ready()
    ids = {note["name"]: note["ids"] for note in one.notes(event="started")}
    numbers = {
        line.split(":")[0]: int(line.split(":")[2])
        for line in (machine / "etc" / "passwd").read_text().splitlines()
    }

    assert [numbers["content-supervisor"]] * 3 == ids["core"][0]
    assert [numbers["content-supervisor-gw"]] * 3 == ids["gateway"][0]
    assert ids["core"][2] == [ids["gateway"][1][0]]
    one.signal(signal.SIGTERM)
    assert 0 == one.wait()
