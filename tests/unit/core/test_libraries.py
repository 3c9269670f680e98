"""What libraries log becomes one line each of the service log."""

from __future__ import annotations

import logging
import os

from supervisor.core.libraries import Bridge
from supervisor.log import Log


def test_a_record_with_newlines_of_a_library_is_one_line_that_names_its_logger() -> None:
    read, write = os.pipe()
    bridge = Bridge(Log("core", fd=write))
    logger = logging.getLogger("some.library")
    logger.addHandler(bridge)
    try:
        logger.warning("two\nlines of %s", "text")
        logger.info("not this one")
    finally:
        logger.removeHandler(bridge)
        os.close(write)
    with os.fdopen(read) as lines:
        (line,) = lines.read().splitlines()
    assert 'library-says logger=some.library text="two\\nlines of text"' in line
