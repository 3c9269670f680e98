"""Follow docs/tutorial.md to the letter: run its shell blocks, visit what it deploys."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.fresh.visit import visit


def shell(block: str) -> subprocess.CompletedProcess[str]:
    """Run a block as a person would, line by line, and show it with what it printed."""
    print("fresh: $", block.strip().replace("\n", "\nfresh: > "), flush=True)
    done = subprocess.run(["bash", "-e", "-c", block], text=True, capture_output=True, timeout=300)
    print(done.stdout + done.stderr, flush=True)
    return done


def run_of(content: str) -> str:
    """Give the id of the content's run."""
    runs = json.loads(subprocess.check_output(["./dev", "run", "ps", content, "--json"]))
    return str(runs[0]["id"])


def main() -> None:
    """Follow every step; the first block is the server, which runs already."""
    text = Path("docs/tutorial.md").read_text()
    server, *blocks = re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert server == "./dev serve\n"
    url = ""
    for block in blocks:
        if "RUN" in block:
            block = block.replace("RUN", run_of("my-app"))
        if "deploy my-app" in block and "stop(" in Path("my-app/app.R").read_text():
            done = shell(block)
            assert done.returncode != 0
            assert "no luck" in done.stderr, "the reason is not named"
            visit(url)  # what was served before still is
            continue
        done = shell(block)
        assert done.returncode == 0, done.returncode
        if "deploy" in block:
            url = done.stdout.strip().splitlines()[-1]
        if "deploy" in block or "kill" in block:
            visit(url)


if __name__ == "__main__":
    main()
