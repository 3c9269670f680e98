"""Run the real parent over programs of a test: parent.py CONFIG PROGRAMS-AS-JSON."""

import json
import sys

from supervisor.errors import SupervisorError
from supervisor.parent.serve import serve
from supervisor.settings import load

try:
    programs = {name: tuple(argv) for name, argv in json.loads(sys.argv[2]).items()}
    raise SystemExit(serve(load(sys.argv[1]), programs=programs))
except SupervisorError as error:
    sys.stderr.write(f"{error}\n")
    raise SystemExit(error.exit_status) from None
