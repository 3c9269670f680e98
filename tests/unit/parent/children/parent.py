"""Run the real parent over programs of a test: parent.py CONFIG PROGRAMS-AS-JSON."""

import argparse
import json
import sys
from functools import partial

from supervisor.errors import SupervisorError
from supervisor.parent.serve import check, resume, serve
from supervisor.settings import load

parser = argparse.ArgumentParser()
parser.add_argument("config")
parser.add_argument("programs")
parser.add_argument("--check", type=int)
parser.add_argument("--resume", type=int)
given = parser.parse_args()
programs = {name: tuple(argv) for name, argv in json.loads(given.programs).items()}
command = [sys.executable, "-I", __file__, given.config, given.programs]
try:
    if given.check is not None:
        raise SystemExit(check(load(given.config), given.check, programs=programs))
    if given.resume is not None:
        status = resume(
            given.resume, lambda: load(given.config), programs=programs, command=command
        )
        raise SystemExit(status)
    read = partial(load, given.config)
    raise SystemExit(serve(read(), programs=programs, command=command, load=read))
except SupervisorError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(error.exit_status) from None
