# Prints what the supervisor wants to know of this Python as one JSON object. Python 3.7 or newer.
import importlib.util
import json
import sys


def version_of(package: str) -> str:
    if importlib.util.find_spec(package) is None:
        return ""
    try:
        from importlib.metadata import version
    except ImportError:  # Python 3.7
        return "unknown"
    return version(package)


facts = {
    "version": ".".join(str(part) for part in sys.version_info[:3]),
    "executable": sys.executable,
    "prefixes": [sys.prefix, sys.base_prefix, sys.exec_prefix],
    "shiny": version_of("shiny"),
}
json.dump(facts, sys.stdout)
