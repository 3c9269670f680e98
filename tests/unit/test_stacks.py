"""Whose code a dump of stacks was in: dumps as several versions of Python write them."""

from __future__ import annotations

import enum
import json
import json.decoder

import pytest

from supervisor import stacks

MAIN_LAST = """
Thread 0x00007f0000000002 (most recent call first):
  File "/site/guest/thread.py", line 5 in wait
  File "/usr/lib/python3.11/threading.py", line 1038 in _bootstrap_inner
  File "/usr/lib/python3.11/threading.py", line 995 in _bootstrap

Current thread 0x00007f0000000001 (most recent call first):
  File "/usr/lib/python3.11/json/decoder.py", line 337 in decode
  File "/site/held/plugin.py", line 3 in hold
  File "/site/core/run.py", line 9 in run
  File "<string>", line 7 in <module>
"""

NEWER = """Fatal Python error: User signal

Thread 0x00007f0000000001 [main] (most recent call first):
  File "/site/held/plugin.py", line 3 in hold
  File "/site/run.py", line ??? in <module>

Current thread 0x00007f0000000002 [trio-1] (most recent call first):
  File "/site/guest/thread.py", line 5 in wait
  File "/usr/lib/python3.14/threading.py", line 1044 in _bootstrap

Current thread's C stack trace (most recent call first):
  Binary file "/usr/bin/python3.14", at _Py_DumpStack+0x30 [0x5a1]

Extension modules: msgspec._core (total: 1)
"""

HOMES = {"guest": ["/site/guest"], "held": ["/site/held"], "prefix": ["/site/hel"]}


@pytest.mark.parametrize("dump", [MAIN_LAST, NEWER], ids=["main-last", "newer"])
def test_the_innermost_frame_of_the_main_thread_decides(dump: str) -> None:
    assert "held" == stacks.owner(stacks.main_thread(dump), HOMES)


def test_of_two_dumps_the_last_counts() -> None:
    later = MAIN_LAST.replace("/site/held", "/site/guest")
    assert "guest" == stacks.owner(stacks.main_thread(MAIN_LAST + later), HOMES)


def test_frames_of_nobody_are_nobody_s() -> None:
    assert stacks.owner(stacks.main_thread(MAIN_LAST), {"other": ["/other"]}) is None
    assert [] == stacks.main_thread("")
    assert [] == stacks.main_thread('  File "x", line 1 in y\n')


def test_a_package_s_home_is_its_directory_and_a_module_s_its_file() -> None:
    (package,) = stacks.homes(json.decoder)
    assert package.endswith("/json")
    (module,) = stacks.homes(enum)
    assert module.endswith("/enum.py")
    assert "enum" == stacks.owner([module], {"enum": [module]})


def test_a_name_that_is_not_ascii_is_compared_as_the_dump_writes_it() -> None:
    assert "/a/\\xe9t\\xe9" == stacks._as_dumped("/a/été")
