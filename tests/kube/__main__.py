"""The command line: ./dev kube up|down|run|image|pid."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from tests.kube import cluster, images
from tests.kube.place import Failed, Place


def main() -> int:
    """Run one command; gives its exit status."""
    parser = argparse.ArgumentParser(prog="./dev kube", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a cluster and wait until it is ready")
    up.add_argument("--api-only", action="store_true", help="no node: Pods stay pending")
    down = commands.add_parser("down", help="end it and remove its state")
    down.add_argument("--purge", action="store_true", help="also programs, images and logs")
    run = commands.add_parser("run", help="run a command in its network, with KUBECONFIG")
    run.add_argument("argv", nargs=argparse.REMAINDER)
    image = commands.add_parser("image", help="make an image of the host's own programs")
    image.add_argument("name")
    image.add_argument("--python", action="store_true", help="the host's Python")
    image.add_argument("--r", action="store_true", help="the host's R and its packages")
    image.add_argument("--add", action="append", default=[], type=Path, metavar="PATH")
    pid = commands.add_parser("pid", help="print the process id of one of its programs")
    pid.add_argument("name")
    chosen = parser.parse_args()

    place = Place()
    match chosen.command:
        case "up":
            began = time.monotonic()
            new = cluster.up(place, api_only=chosen.api_only)
            print(f"ready after {time.monotonic() - began:.1f} s" if new else "was up already")
            print(f"KUBECONFIG={place.kubeconfig}")
        case "down":
            cluster.down(place, purge=chosen.purge)
        case "run":
            with place.network():
                environment = {**os.environ, "KUBECONFIG": str(place.kubeconfig)}
                return subprocess.run(chosen.argv, env=environment).returncode
        case "image":
            with cluster.locked(place):
                name = images.provide(
                    place, chosen.name, python=chosen.python, r=chosen.r, add=chosen.add
                )
            print(name)
        case "pid":
            print(place.pid(chosen.name))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as failed:
        sys.exit(f"kube: {failed}")
