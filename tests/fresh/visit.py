"""Visit every example whose URL stands in the output of `./dev serve` (the argument)."""

from __future__ import annotations

import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


def visit(url: str) -> str:
    """Give the app's page; exits with what came instead after a minute."""
    status, page = 0, ""
    for _ in range(120):
        request = urllib.request.Request(url, headers={"Accept": "text/html"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                status, page = answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            status, page = error.code, error.read().decode()
        if status == 200 and "shiny" in page:
            print(f"fresh: {url} {status}, {len(page)} characters", flush=True)
            return page
        time.sleep(0.5)
    sys.exit(f"fresh: {url} answered {status}: {page[:2000]}")


def main(output: str) -> None:
    """Visit them; every app of examples/ must have a URL."""
    urls = dict(re.findall(r"^  ([\w-]+) +(http://\S+)$", Path(output).read_text(), re.MULTILINE))
    examples = {path.parent.name for path in Path("examples").glob("shiny-*/README.md")}
    assert examples == set(urls), f"{examples ^ set(urls)} has an example or a URL, not both"
    for url in urls.values():
        visit(url)


if __name__ == "__main__":
    main(sys.argv[1])
