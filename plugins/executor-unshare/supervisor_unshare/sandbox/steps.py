"""The steps of a start, by name: which one failed, and with what."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class StartFailed(Exception):
    """A step between the request and the content's exec failed; nothing of the run is left."""

    def __init__(self, step: str, number: int | None, message: str) -> None:
        super().__init__(message)
        self.step = step
        self.number = number


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Let an OSError say in which step it happened."""
    try:
        yield
    except OSError as error:
        raise StartFailed(name, error.errno, str(error)) from error
