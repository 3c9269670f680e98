"""A core in a few lines: starts what it reads from standard input, and lives until it is killed."""

import json
import sys

import trio
from supervisor_podman.executor import PodmanExecutor
from supervisor_podman.settings import PodmanSettings

from supervisor import Job, from_json, to_json


async def main() -> None:
    given = json.load(sys.stdin)
    settings = from_json(PodmanSettings, given["settings"])
    executor = PodmanExecutor(settings=settings, **given["places"])
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.serve)
        receipt = await executor.start(from_json(Job, given["job"]))
        print(json.dumps(to_json(receipt)), flush=True)  # noqa: T201  # its only way to say it
        await trio.sleep_forever()


trio.run(main)
