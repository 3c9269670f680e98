"""What libraries and plugins write through `logging` becomes lines of the service log."""

from __future__ import annotations

import logging

from supervisor.log import Log


class Bridge(logging.Handler):
    """Hand records of the standard library's logging to our log, with the logger's name."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record as one event."""
        write = self._log.error if record.levelno >= logging.ERROR else self._log.warning
        write("library-says", logger=record.name, text=record.getMessage())


def take_over(log: Log) -> None:
    """Send everything from WARNING on to `log`; called once, before plugins load."""
    logging.basicConfig(handlers=[Bridge(log)], level=logging.WARNING, force=True)
    logging.captureWarnings(True)
