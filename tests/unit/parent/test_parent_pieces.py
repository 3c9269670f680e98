from __future__ import annotations

import ast
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor import parent
from supervisor.errors import SupervisorError
from supervisor.parent import directories, identity, lock
from supervisor.parent.child import environment, sealed
from supervisor.parent.identity import Identities, Identity
from supervisor.parent.notify import Notifier
from supervisor.settings import Configuration


@pytest.fixture
def me() -> Identities:
    return identity.resolve(Configuration(), uid=os.geteuid() or 1, gid=os.getegid())


@pytest.fixture
def caller(me: Identities) -> Identities:
    """The rootless identities of whoever runs the tests, root included."""
    one = Identity(name="me", uid=os.geteuid(), gid=os.getegid())
    return Identities(rootless=True, helper=one, core=one, gateway=one, install=one)


def test_parent_and_settings_load_nothing_but_the_standard_library() -> None:
    code = (
        "import sys, importlib, pkgutil\n"
        "import supervisor.parent, supervisor.settings\n"
        "for package in (supervisor.parent, supervisor.settings):\n"
        "    for module in pkgutil.iter_modules(package.__path__, package.__name__ + '.'):\n"
        "        importlib.import_module(module.name)\n"
        "tops = {name.partition('.')[0] for name in sys.modules}\n"
        "print(*sorted(tops - set(sys.stdlib_module_names)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True
    )
    # what site loads for itself (.pth files of the environment) is there without us
    bare = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    before = {name.partition(".")[0] for name in bare.stdout.split()}

    assert {"supervisor"} == set(done.stdout.split()) - before


def test_every_file_of_the_parent_is_shorter_than_the_limit() -> None:
    for file in Path(parent.__file__).parent.glob("*.py"):
        text = file.read_text()
        assert len(text.splitlines()) <= 400
        assert ast.get_docstring(ast.parse(text))


def test_a_lock_names_its_holder_and_ends_with_its_descriptor(tmp_path: Path) -> None:
    path = str(tmp_path / "lock")
    fd = lock.hold(path, code="run-dir-held", what="the directory x", unusable="run-dir-unusable")
    with pytest.raises(SupervisorError, match=rf"the directory x is held .*pid {os.getpid()}"):
        lock.hold(path, code="run-dir-held", what="the directory x", unusable="run-dir-unusable")
    os.close(fd)

    os.close(
        lock.hold(path, code="run-dir-held", what="the directory x", unusable="run-dir-unusable")
    )


def test_a_shared_lock_is_shared_with_those_that_share_it_alone(tmp_path: Path) -> None:
    def hold(*, shared: bool) -> int:
        return lock.hold(
            str(tmp_path / "lock"),
            code="data-dir-held",
            what="x",
            unusable="data-dir-unusable",
            shared=shared,
            hint=" Or share it.",
        )

    held = [hold(shared=True), hold(shared=True)]
    with pytest.raises(SupervisorError) as caught:
        hold(shared=False)
    assert "Or share it." in caught.value.hint
    for fd in held:
        os.close(fd)
    alone = hold(shared=False)
    with pytest.raises(SupervisorError, match="is held by another"):
        hold(shared=True)
    os.close(alone)


def test_a_data_dir_is_held_against_a_container_with_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(node: str) -> None:
        system, _, *rest = os.uname()
        uname = os.uname_result((system, node, *rest))
        monkeypatch.setattr(os, "uname", lambda: uname)

    named("one")
    held = lock.hold_data_dir(str(tmp_path))
    with pytest.raises(SupervisorError) as near:
        lock.hold_data_dir(str(tmp_path))
    named("two")
    with pytest.raises(SupervisorError) as far:
        lock.hold_data_dir(str(tmp_path))
    lock.release(held)
    assert near.value.message.endswith(f"is held by another living server (pid {os.getpid()})")
    assert f"kill {os.getpid()}" in near.value.hint
    assert far.value.message.endswith(f"another living server (pid {os.getpid()} on one)")
    assert "kill" not in far.value.hint


def by_older_code(data_dir: Path) -> int:
    """Hold a DataDir as the code did that knew the host's name alone."""
    path = data_dir / f".held-{os.uname().nodename}"
    return lock.hold(str(path), code="data-dir-held", what="it", unusable="data-dir-unusable")


def test_servers_of_older_and_of_this_code_exclude_each_other(tmp_path: Path) -> None:
    older = by_older_code(tmp_path)
    with pytest.raises(SupervisorError, match=f"pid {os.getpid()}"):
        lock.hold_data_dir(str(tmp_path))
    os.close(older)
    held = lock.hold_data_dir(str(tmp_path))  # also what the refused one had taken already
    with pytest.raises(SupervisorError, match="is held by another"):
        by_older_code(tmp_path)
    lock.release(held)


def test_a_reload_from_older_code_takes_the_lock_that_it_did_not_know(tmp_path: Path) -> None:
    older = by_older_code(tmp_path)
    taken = lock.hold_data_dir(str(tmp_path), held=[older])
    assert 1 == len(taken)
    assert [] == lock.hold_data_dir(str(tmp_path), held=[older, *taken])
    os.close(older)
    with pytest.raises(SupervisorError, match="is held by another"):
        lock.hold_data_dir(str(tmp_path))
    lock.release(taken)


def test_a_lock_file_is_never_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "lock").symlink_to("target")
    with pytest.raises(SupervisorError, match="cannot be used"):
        lock.hold(
            str(tmp_path / "lock"), code="run-dir-held", what="x", unusable="data-dir-unusable"
        )

    assert "precious" == (tmp_path / "target").read_text()


def test_data_dir_is_made_and_made_right_again(tmp_path: Path, caller: Identities) -> None:
    data = tmp_path / "new" / "data"
    directories.make_data_dir(str(data), caller)
    (data / "apps").chmod(0o777)
    (data / "db").rmdir()
    directories.make_data_dir(str(data), caller)

    assert {
        "apps", "bundles", "db", "jobs", "libraries", "reports", "state", "tmp", "uploads"
    } == set(os.listdir(data))  # fmt: skip
    assert {0o700} == {stat.S_IMODE((data / name).stat().st_mode) for name in os.listdir(data)}


def test_an_empty_volume_may_become_data_dir(tmp_path: Path, caller: Identities) -> None:
    (tmp_path / "lost+found").mkdir()
    directories.make_data_dir(str(tmp_path), caller)

    assert (tmp_path / "bundles").is_dir()


def test_a_link_among_the_directories_of_data_dir_is_refused(
    tmp_path: Path, caller: Identities
) -> None:
    directories.make_data_dir(str(tmp_path / "data"), caller)
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "data" / "apps").rmdir()
    (tmp_path / "data" / "apps").symlink_to(tmp_path / "elsewhere")

    with pytest.raises(SupervisorError, match="data/apps"):
        directories.make_data_dir(str(tmp_path / "data"), caller)
    assert 0o755 == stat.S_IMODE((tmp_path / "elsewhere").stat().st_mode)


def test_a_data_dir_that_everybody_may_write_is_refused(tmp_path: Path, caller: Identities) -> None:
    data = tmp_path / "data"
    data.mkdir()
    data.chmod(0o777)

    with pytest.raises(SupervisorError, match="writable by nobody else"):
        directories.make_data_dir(str(data), caller)


def test_run_dir_has_a_place_for_the_runs_and_one_for_the_core(
    tmp_path: Path, caller: Identities
) -> None:
    directories.make_run_dir(str(tmp_path / "run"), caller)
    directories.make_run_dir(str(tmp_path / "run"), caller)

    assert {"w", "core"} == set(os.listdir(tmp_path / "run"))


def test_a_sealed_file_cannot_be_changed() -> None:
    fd = sealed("settings", b"truth")

    assert b"truth" == os.pread(fd, 10, 0)
    with pytest.raises(PermissionError):
        os.pwrite(fd, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(fd, 0)
    os.close(fd)


def test_a_child_environment_is_short_and_roots_is_fixed(me: Identities) -> None:
    given = {"PATH": "/mine", "LD_PRELOAD": "/x", "PYTHONHOME": "/y", "TZ": "UTC", "LANG": "de"}

    assert {"PATH", "LANG", "HOME", "TZ"} == set(environment(given, me.core, rootless=False))
    assert "/mine" not in environment(given, me.core, rootless=False)["PATH"]
    assert "/mine" == environment(given, me.core, rootless=True)["PATH"]


def test_no_notification_is_sent_where_nobody_listens(tmp_path: Path) -> None:
    for environ in ({}, {"NOTIFY_SOCKET": str(tmp_path / "gone")}, {"NOTIFY_SOCKET": ""}):
        notifier = Notifier.of(environ)
        notifier.ready()
        notifier.stopping()
        notifier.watchdog(0.0)
        assert notifier.next_watchdog() is None


def test_the_watchdog_hears_twice_in_its_time(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "n"))
        manager.setblocking(False)
        environ = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "2000000"}
        notifier = Notifier.of(environ)
        for now in (10.0, 10.5, 11.0):
            notifier.watchdog(now)

        assert 12.0 == notifier.next_watchdog()
        assert b"WATCHDOG=1" == manager.recv(100) == manager.recv(100)
        with pytest.raises(BlockingIOError):
            manager.recv(100)
        assert Notifier.of(environ | {"WATCHDOG_PID": str(os.getpid() + 1)}).next_watchdog() is None
