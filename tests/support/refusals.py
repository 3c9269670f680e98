"""System calls of a running process and its children made to fail, one at a time, by strace.

What a call is that fails is told by its name and its number among the calls of that name, which
each process counts on its own. Programs that a child executes are left alone.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import attrs

_BEGUN = re.compile(r"(\d+) +((\w+)\(.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")


@attrs.frozen(kw_only=True)
class Call:
    """One call of one process. text: as strace shows it; refused: it was not made but failed."""

    pid: int
    name: str
    text: str

    @property
    def refused(self) -> bool:
        return self.text.endswith("(INJECTED)")


@contextmanager
def tracing(pids: Sequence[int], *options: str) -> Iterator[list[Call]]:
    """Trace processes and the children that they make meanwhile, until those execute a program.

    Gives a list that holds all calls, in order, once the block is over.
    """
    calls: list[Call] = []
    with tempfile.NamedTemporaryFile("r", prefix="calls-", errors="replace") as file:
        command = ["strace", "-f", "-b", "execve", "-o", file.name, *options]
        for pid in pids:
            command += ["-p", str(pid)]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
        try:
            assert tracer.stderr is not None
            for _ in pids:
                line = tracer.stderr.readline()
                assert b"attached" in line, line
            yield calls
        finally:
            tracer.terminate()
            tracer.communicate(timeout=10)
            calls += _read(file)


def refusing(name: str, number: int, error: str) -> tuple[str, ...]:
    """Give the options of `tracing` that let the call of this number fail in each process."""
    return "-e", f"trace={name}", "-e", f"inject={name}:error={error}:when={number}"


def _read(lines: Iterable[str]) -> list[Call]:
    calls: list[Call] = []
    for line in map(str.rstrip, lines):
        if match := _BEGUN.match(line):
            calls.append(Call(pid=int(match[1]), name=match[3], text=match[2]))
        elif match := _RESUMED.match(line):
            here = max(n for n, call in enumerate(calls) if call.pid == int(match[1]))
            calls[here] = attrs.evolve(calls[here], text=calls[here].text + match[2])
    return calls
