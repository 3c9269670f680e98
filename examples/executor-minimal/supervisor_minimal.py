"""The executor `minimal`: each run is a child of the core, without a sandbox, and ends with it."""

import os
import signal
from collections.abc import AsyncGenerator, Sequence

import trio

import supervisor as sv


class MinimalExecutor(sv.Executor):
    """Run plans that need no mounts, as the user of the core. directory: for the runs' sockets."""

    name = "minimal"
    capabilities = sv.Capabilities(
        lifetime=sv.Lifetime.CORE, purposes=frozenset({sv.Purpose.SERVE}), shared_files=False
    )

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._runs: dict[sv.RunId, tuple[sv.Job, sv.Child]] = {}

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as self._endings:
            task_status.started()
            await trio.sleep_forever()

    async def start(self, job: sv.Job) -> sv.Receipt:
        if job.run not in self._runs:
            env = {**job.plan.env, "SUPERVISOR_LISTEN": f"{self._directory}/{job.run}.sock"}
            self._runs[job.run] = job, sv.spawn(job.plan.argv, cwd=job.plan.workdir, env=env)
        return sv.Receipt(run=job.run, executor=self.name)

    async def watch(self, receipt: sv.Receipt) -> AsyncGenerator[sv.Observation, None]:
        if receipt.run not in self._runs:
            yield sv.Exit(cause=sv.Cause.LOST)
            return
        _, child = self._runs[receipt.run]
        if child.exit is None:
            socket, uid = f"{receipt.run}.sock", os.geteuid()
            endpoint = sv.UnixEndpoint(directory=self._directory, name=socket, uid=uid)
            yield sv.Running(endpoint=endpoint, pid=child.pid)
        yield await child.wait()
        self._runs.pop(receipt.run, None)

    async def stop(self, receipt: sv.Receipt, grace: float) -> None:
        if receipt.run in self._runs:
            job, child = self._runs[receipt.run]
            number = signal.Signals[f"SIG{job.plan.stop_signal}"]
            self._endings.start_soon(child.stop, grace, number)  # it goes on without its caller
            await child.wait()

    async def list(self) -> Sequence[sv.Receipt]:
        return [sv.Receipt(run=run, executor=self.name) for run in self._runs]


@sv.hookimpl
def supervisor_executors(context: sv.Context) -> Sequence[sv.Executor]:
    return [MinimalExecutor(f"{context.run_dir}/w")]
