"""Run a command on a host that refuses some system calls: `python refusing.py RULE... -- COMMAND`.

A rule is NAME (refused with EPERM), NAME=ERRNO, or `namespaces`: to make those is what Docker's
profile refuses a container without CAP_SYS_ADMIN. The command inherits the filter.
"""

from __future__ import annotations

import errno
import os
import sys

from supervisor_unshare.linux import filters, syscalls

_CALLS = {"openat2": 437, "landlock_create_ruleset": 444}


def rule(text: str) -> list[filters.Rule]:
    """Read one rule."""
    if text == "namespaces":
        calls = {"clone", "unshare", "setns"}
        kept = [one for one in filters.RULES if set(one.calls) <= calls]
        return [*kept, filters.Rule(calls=("clone3",), reason="", errno=errno.ENOSYS)]
    name, _, number = text.partition("=")
    return [filters.Rule(calls=(name,), reason="", errno=getattr(errno, number) if number else 1)]


def main(arguments: list[str]) -> None:
    """Filter this process, then become the command."""
    split = arguments.index("--")
    rules = [one for text in arguments[:split] for one in rule(text)]
    machine = os.uname().machine
    filters.NUMBERS = {machine: {**filters.NUMBERS[machine], **_CALLS}}
    command = arguments[split + 1 :]
    syscalls.forbid_new_privileges()
    syscalls.filter_calls(filters.program(rules=rules))
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
