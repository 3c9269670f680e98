"""One run: from a plan to a process, its output, its end; the executors that hold it."""
