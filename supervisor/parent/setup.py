"""`supervisor setup`: the users, directories, files and the unit that a server needs.

May be run again: what is as it should be is left alone.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from supervisor import settings as settings_package
from supervisor.errors import SupervisorError
from supervisor.parent import directories, identity, unit
from supervisor.settings import Configuration, configuration_file, data_dir

_NO_LOGIN = "/usr/sbin/nologin"


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One thing to do: the command that a person could type, and how we do it ourselves.

    text: what the command reads, where it reads something.
    """

    command: tuple[str, ...]
    act: Callable[[], object] | None = None
    text: str = ""

    def __str__(self) -> str:
        command = shlex.join(self.command)
        return f"{command} <<'END'\n{self.text}END" if self.text else command

    def do(self) -> None:
        """Do it. Raises SupervisorError("setup-failed") where a command fails."""
        if self.act is not None:
            self.act()
            return
        if shutil.which(self.command[0]) is None:
            raise SupervisorError(
                "setup-failed",
                f"this machine has no {self.command[0]}",
                hint="Do it with this machine's own tools: `supervisor setup --print` shows what."
                " Users and groups need numbers of their own and no login.",
            )
        done = subprocess.run(self.command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SupervisorError(
                "setup-failed", f"{self} failed: {done.stderr.strip() or done.returncode}"
            )


def run_setup(
    settings: Configuration,
    print_only: bool,
    *,
    systemd: bool = False,
    environ: Mapping[str, str] | None = None,
    uid: int | None = None,
) -> list[str]:
    """Do what is missing, or only say it; give the commands, [] where all is as it should be.

    As root: users, groups, DataDir, configuration file; with `systemd` the unit too, started at
    boot. Without root only what a rootless server needs: its DataDir. Raises SupervisorError where
    a step fails; those before it stay done.
    """
    environ = os.environ if environ is None else environ
    uid = os.geteuid() if uid is None else uid
    os.umask(0o022)
    said: list[str] = []
    kinds = [_missing_accounts, _missing_directories, _missing_file]
    if systemd:
        if uid != 0:
            raise SupervisorError(
                "not-allowed", "the unit is one of the whole machine: only root can set it up"
            )
        kinds.append(_missing_unit)
    # Each kind is looked at after the one before it was done: directories need the users.
    for missing in kinds:
        for step in list(missing(settings, environ, uid)):
            said.append(str(step))
            if not print_only:
                step.do()
    return said


def _missing_accounts(
    settings: Configuration, environ: Mapping[str, str], uid: int
) -> Iterator[Step]:
    if uid != 0:
        return
    privileged = settings.privileged
    users = (privileged.core_user, privileged.gateway_user, privileged.install_user)
    for group in (*users, privileged.admin_group):
        if not _is_number(group) and not _group_exists(group):
            yield Step(command=("groupadd", "--system", group))
    home = data_dir(settings, environ, uid=uid)
    for user in users:
        if not _is_number(user) and not _user_exists(user):
            yield Step(
                command=(
                    "useradd", "--system", "--gid", user, "--no-create-home", "--home-dir", home,
                    "--shell", _NO_LOGIN, user,
                )
            )  # fmt: skip
    core, gateway = privileged.core_user, privileged.gateway_user
    if not _is_number(core) and not _is_number(gateway) and not _is_member(core, gateway):
        yield Step(command=("usermod", "--append", "--groups", gateway, core))


def _missing_directories(
    settings: Configuration, environ: Mapping[str, str], uid: int
) -> Iterator[Step]:
    where = data_dir(settings, environ, uid=uid)
    if uid == 0 and _missing_any_user(settings):  # only to be printed: nothing can be right yet
        wrong, act = None, None
    else:
        who = identity.resolve(settings, uid=uid, gid=os.getegid())
        wrong = {each.path for each in directories.data_directories(where, who) if not each.right()}
        if not os.path.isdir(where):
            wrong.add(where)
        act = partial(directories.make_data_dir, where, who)
    for path, owner, group, mode in _directories(settings, where, uid):
        if wrong is None or path in wrong:
            owned = ("-o", owner, "-g", group) if uid == 0 else ()
            yield Step(command=("install", "-d", *owned, "-m", mode, path), act=act)


def _directories(
    settings: Configuration, where: str, uid: int
) -> Iterator[tuple[str, str, str, str]]:
    """Yield path, owner, group and permissions of DataDir and its directories, by their names."""
    core, _, number = settings.privileged.core_user.partition(":")
    entered = "0750" if uid == 0 else "0700"
    yield where, "root", number or core, entered
    for name in directories.CORE_OWNED:
        yield os.path.join(where, name), core, number or core, "0700"
    for name in directories.ROOT_OWNED:
        yield os.path.join(where, name), "root", number or core, entered


def _missing_file(settings: Configuration, environ: Mapping[str, str], uid: int) -> Iterator[Step]:
    if uid != 0 or settings.file is not None:
        return
    path = configuration_file(environ, uid=uid)
    if os.path.exists(path):
        return
    sample = os.path.join(os.path.dirname(settings_package.__file__), "sample.gcfg")

    def write() -> None:
        os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "wb") as target, open(sample, "rb") as source:
            target.write(source.read())

    yield Step(command=("install", "-D", "-m", "0600", sample, path), act=write)


def _missing_unit(settings: Configuration, environ: Mapping[str, str], uid: int) -> Iterator[Step]:
    wanted = unit.text(settings, environ)
    written = unit.installed(unit.WRITTEN)
    if wanted not in (written, None if written else unit.installed(unit.PACKAGED)):
        act = partial(_write, unit.WRITTEN, wanted)
        yield Step(command=("tee", unit.WRITTEN), act=act, text=wanted)
        if os.path.isdir(unit.BOOTED):
            yield Step(command=("systemctl", "daemon-reload"))
    if not os.path.lexists(unit.WANTED):
        yield Step(command=("systemctl", "enable", unit.NAME))


def _write(path: str, text: str) -> None:
    """Write a file for all to read, so that nobody ever sees half of it."""
    part = f"{path}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(part, 0o644)
    os.replace(part, path)


def _is_number(name: str) -> bool:
    return name.partition(":")[0].isdecimal()


def _missing_any_user(settings: Configuration) -> bool:
    privileged = settings.privileged
    users = (privileged.core_user, privileged.gateway_user, privileged.install_user)
    return not all(_is_number(user) or _user_exists(user) for user in users)


def _user_exists(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group_exists(name: str) -> bool:
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True


def _is_member(user: str, group: str) -> bool:
    try:
        return user in grp.getgrnam(group).gr_mem
    except KeyError:
        return False
