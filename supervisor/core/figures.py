"""All figures that the core counts, with what they mean: the reference is made from this table."""

from __future__ import annotations

from collections.abc import Sequence

from supervisor.exposition import Figure, Histogram
from supervisor.lifecycle import ENDS, State
from supervisor.model import Purpose, Run

STARTS = (0.1, 0.25, 0.5, 1, 2, 5, 10, 15, 30, 60, 300)  # seconds until an app answers
JOBS = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10800, 21600, 43200, 86400)
WRITES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)

_CONTENT = ("content", "name")


class Figures:
    """The figures of one core. Counters begin anew with each core."""

    def __init__(self) -> None:
        made: list[Figure | Histogram] = []

        def counter(name: str, about: str, *labels: str) -> Figure:
            made.append(figure := Figure(f"supervisor_{name}_total", "counter", about, labels))
            return figure

        def gauge(name: str, about: str, *labels: str) -> Figure:
            made.append(figure := Figure(f"supervisor_{name}", "gauge", about, labels))
            return figure

        def histogram(name: str, about: str, bounds: Sequence[float], *labels: str) -> Histogram:
            made.append(figure := Histogram(f"supervisor_{name}", about, bounds, labels))
            return figure

        self.build = gauge("build_info", "1; what runs.", "version", "python", "tier")
        self.since = gauge("core_start_time_seconds", "When this core began, unix time.")

        self.started = counter("runs_started", "Processes that were started.", "purpose")
        self.ended = counter(
            "runs_ended", "Processes that ended, by state and cause.", "purpose", "state", "cause"
        )
        self.cold_start = histogram(
            "cold_start_seconds", "From the wish for an app's process until it answers.", STARTS
        )
        self.job = histogram(
            "job_duration_seconds", "How long one-shot processes lived.", JOBS, "purpose"
        )
        self.runs = gauge("runs", "Living processes that serve, by state.", "state")

        self.contents = gauge("contents", "Contents, by state.", "state")
        self.processes = gauge("content_processes", "Processes of a content.", *_CONTENT)
        self.sessions = gauge("content_sessions", "Seats taken in a content.", *_CONTENT)
        self.waiting = gauge("content_waiting", "Visitors in line for a content.", *_CONTENT)
        self.cpu = counter(
            "content_cpu_seconds", "CPU time of a content's processes, as looked at.", *_CONTENT
        )
        self.memory = gauge(
            "content_memory_bytes", "Resident memory of a content's processes.", *_CONTENT
        )
        self.memory_kills = counter(
            "content_memory_kills",
            "Processes killed for want of memory while their app went on; only of limited ones.",
        )
        self.left_out = gauge("contents_left_out", "Contents that are too many to be told.")

        self.seats_used = gauge("seats_used", "Seats taken in all processes that are ready.")
        self.seats_free = gauge("seats_free", "Seats free in all processes that are ready.")
        self.line = gauge("visitors_waiting", "Visitors in line for a seat, of all contents.")
        self.line_age = gauge(
            "visitors_waiting_oldest_seconds", "For how long the first of them has waited."
        )
        self.starts_line = gauge("starts_waiting", "Process starts that wait for others.")
        self.starts_now = gauge("starts_under_way", "Processes that are starting.")

        self.part_starts = counter(
            "process_starts", "Starts of the server's own processes, the first too.", "process"
        )
        self.part_cpu = counter(
            "process_cpu_seconds", "CPU time of the server's own processes.", "process"
        )
        self.part_memory = gauge(
            "process_memory_bytes", "Resident memory of the server's own processes.", "process"
        )
        self.gateways = gauge("gateways_connected", "Gateways that speak to the core.")
        self.answers = counter(
            "http_answers", "Answers of the gateways by the first digit of their status.", "class"
        )

        self.writes = histogram("store_write_seconds", "Each write of the journal.", WRITES)
        self.store_failures = counter("store_failures", "Writes that found the store away.")
        self.store_waiting = gauge("store_waiting", "Changes that wait to be written.")
        self.spill = gauge("store_spill_files", "Files of facts that the store has not got yet.")

        self.away = gauge("executor_away", "1 while an executor cannot be reached.", "executor")
        self.plugins = gauge("plugins_failed", "Plugins that failed or are blamed.")
        self.log_dropped = counter("log_lines_dropped", "Lines that the core's log lost.")
        self.looked = gauge("scrape_seconds", "How long it took to make this answer.")
        self.families: tuple[Figure | Histogram, ...] = tuple(made)

    def moved(self, run: Run, was: State) -> None:
        """Count a move of a run."""
        purpose = run.purpose.value
        if run.state is State.STARTING:
            self.started.add(purpose)
        elif run.state is State.READY and was is State.PROBING and run.ready is not None:
            self.cold_start.add(max(0.0, run.ready - run.created))
        elif run.state in ENDS and was is not State.QUEUED:
            cause = run.exit.cause.value if run.exit is not None else "lost"
            self.ended.add(purpose, run.state.value, cause)
            if run.purpose is not Purpose.SERVE and run.ended is not None:
                self.job.add(max(0.0, run.ended - (run.started or run.created)), purpose)

    def wrote(self, seconds: float, failed: bool) -> None:
        """Count a write of the journal."""
        self.writes.add(seconds)
        if failed:
            self.store_failures.add()
