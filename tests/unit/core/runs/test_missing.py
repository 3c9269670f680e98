"""A file that content looks for and the sandbox hides is named, with what would show it."""

from __future__ import annotations

import pytest
import trio

from supervisor.core.runs.missing import MOST, advice, paths_in
from supervisor.core.runs.worker import Worker
from supervisor.model import Cause, Exit
from supervisor.site_mounts import SiteMount
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_content, a_job

DATA = "/srv/site-data/x.csv"
FAILED = Exit(code=1, cause=Cause.FAILED)
R_ERROR = b"""\
Warning in file(file, "rt") :
  cannot open file '/srv/site-data/x.csv': No such file or directory
Error in file(file, "rt") : cannot open the connection
"""


@pytest.mark.parametrize(
    ("line", "paths"),
    [
        # R: read.csv, readRDS, readr, data.table, source
        ("  cannot open file '/srv/x.csv': No such file or directory", ["/srv/x.csv"]),
        (
            "cannot open compressed file '/srv/a b.rds', probable reason"
            " 'No such file or directory'",
            ["/srv/a b.rds"],
        ),
        ("Error: '/srv/x.csv' does not exist.", ["/srv/x.csv"]),
        (
            "File '/srv/x.csv' does not exist or is non-readable. getwd()=='/'",
            ["/srv/x.csv"],
        ),
        ("Error: ‘/srv/x.csv’ does not exist", ["/srv/x.csv"]),
        # Python, C, shells, Node
        ("FileNotFoundError: [Errno 2] No such file or directory: '/srv/x.csv'", ["/srv/x.csv"]),
        ("cat: /srv/x.csv: No such file or directory", ["/srv/x.csv"]),
        ("/bin/sh: 1: /opt/tool/bin/x: not found", ["/bin/sh", "/opt/tool/bin/x"]),
        ("Error: ENOENT: no such file or directory, open '/srv/x.csv'", ["/srv/x.csv"]),
        # not a file that is missing, or not one that can be asked for
        ("Error in library(x) : there is no package called ‘x’", []),
        ("cannot open file 'x.csv': No such file or directory", []),
        ("GET http://host/srv/x.csv 404 not found", []),
        ("cannot open file '/srv/../etc/shadow': No such file or directory", []),
        ("opened '/srv/x.csv'", []),
        ("No such file or directory: '/'", []),
    ],
)
def test_paths_are_found_in_what_languages_say(line: str, paths: list[str]) -> None:
    assert paths == list(paths_in(line))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (DATA, 'a section [Mount "site-data"] with Path = /srv/site-data would show it'),
        ("/srv/x.csv", 'a section [Mount "x-csv"] with Path = /srv/x.csv would show it'),
        ("/home/u/x.csv", 'a section [Mount "x-csv"] with Path = /home/u/x.csv would show it'),
        ("/etc/app.conf", 'a section [Mount "app-conf"] with Path = /etc/app.conf would show it'),
        ("/tmp/x.csv", "each process has a temporary directory of its own"),
        ("/run/passwd", "[Mount] shows directories beside those"),
    ],
)
def test_the_advice_names_the_section_that_would_show_it(path: str, said: str) -> None:
    text = advice(path, (), a_content())
    assert f"{path} is on this machine, but hidden by the sandbox" in text
    assert said in text


@pytest.mark.parametrize(
    ("mount", "said"),
    [
        ({"at": "/srv/site-data"}, "shows it to processes that start from now on"),
        ({"at": "/data"}, "shows it at /data/x.csv"),
        ({"at": "/srv/site-data", "path": "/mnt/other"}, "shows /mnt/other there"),
        ({"at": "/data", "contents": ("other",)}, "its Content does not name this one"),
        ({"at": "/data", "contents": ("app-1",)}, "shows it at /data/x.csv"),
    ],
)
def test_a_section_that_is_there_already_is_named(mount: dict[str, object], said: str) -> None:
    made = SiteMount(**{"name": "data", "path": "/srv/site-data", **mount})  # type: ignore[arg-type]
    text = advice(DATA, (made,), a_content())
    assert f'[Mount "data"] {said}'.replace("] its", "] shows it, but its") in text


async def dies(house: House, output: bytes) -> Worker:
    house.executor.behaves = Behaviour(
        listens=None, lives=1.0, end=FAILED, output=(("stderr", output),)
    )
    worker = house.worker()
    await worker.live(a_job(worker.tracked.run))
    return worker


async def test_log_and_reason_of_what_died_say_what_is_hidden(house: House) -> None:
    house.executor.hidden = {DATA}
    worker = await dies(house, R_ERROR)
    hint = f'{DATA} is on this machine, but hidden by the sandbox; a section [Mount "site-data"]'
    run = house.journal.last(worker.id)
    assert f"ended with status 1; {hint}" in run.reason
    said = [line.text for line in worker.output.tail if line.stream == "supervisor"]
    assert [True, False] == [hint in text for text in said]
    assert 1 == house.executor.count("hides")


async def test_what_is_nowhere_is_not_explained(house: House) -> None:
    worker = await dies(house, R_ERROR)
    assert "ended with status 1" == house.journal.last(worker.id).reason


async def test_a_living_process_has_the_hint_in_its_log_and_ends_without_it(house: House) -> None:
    house.executor.hidden = {DATA}
    house.executor.behaves = Behaviour(output=(("stderr", R_ERROR),))
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.live, a_job(worker.tracked.run))
        await worker.ready.wait()
        await trio.sleep(1.0)
        assert any("hidden by the sandbox" in line.text for line in worker.output.tail)
        worker.stop("enough")
    assert "enough" == house.journal.last(worker.id).reason


async def test_what_was_missed_long_before_the_end_is_not_its_reason(house: House) -> None:
    house.executor.hidden = {DATA}
    worker = await dies(house, R_ERROR + b"something else\n" * 30)
    assert "ended with status 1" == house.journal.last(worker.id).reason
    assert any("hidden by the sandbox" in line.text for line in worker.output.tail)


async def test_no_content_asks_its_way_through_a_disk(house: House) -> None:
    lines = [b"cat: /srv/%d: No such file or directory\n" % n for n in range(100)]
    await dies(house, b"".join(lines))
    assert MOST == house.executor.count("hides")


async def test_an_executor_that_does_not_answer_holds_up_no_end(house: House) -> None:
    async def hangs(path: str) -> bool:
        await trio.sleep_forever()
        return True

    house.executor.hides = hangs  # type: ignore[method-assign]
    worker = await dies(house, R_ERROR)
    assert "ended with status 1" == house.journal.last(worker.id).reason
