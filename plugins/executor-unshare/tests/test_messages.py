"""Any bytes that reach the helper are a checked request or are refused, from core and gateway."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from supervisor_unshare.requests import verbs

from tests.fuzz import messages

ROOT = Path(__file__).parents[3]
SEEDS = sorted(messages.SEEDS.iterdir())
_TEXT = st.text(max_size=40) | st.sampled_from(["", "\0", "..", "\ud800", "a" * 5000])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda path: path.stem)
def test_a_seed_is_a_request(seed: Path) -> None:
    message = json.loads(seed.read_text())
    request = verbs.parse(message, messages.KINDS[0], verbs.CORE_VERBS)
    assert message["type"] == request.verb


def test_every_verb_has_a_seed() -> None:
    known = {verb for table in messages.TABLES for verb in table}
    assert known == {json.loads(seed.read_text())["type"] for seed in SEEDS}


@given(st.binary(max_size=300))
def test_any_bytes_are_understood_or_refused(data: bytes) -> None:
    messages.look(data)


@given(st.sampled_from(SEEDS), st.data())
def test_a_request_with_any_part_replaced_is_understood_or_refused(
    seed: Path, data: st.DataObject
) -> None:
    message = json.loads(seed.read_text())
    here: Any = message
    while isinstance(here, dict | list) and here:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        key = data.draw(st.sampled_from(keys))
        if data.draw(st.booleans()) or not isinstance(here[key], dict | list):
            here[key] = data.draw(_JSON)
            break
        here = here[key]
    messages.look(json.dumps(message).encode())


@given(st.sampled_from(SEEDS), st.integers(0, 2000), st.binary(max_size=8))
def test_a_request_with_any_bytes_put_in_is_understood_or_refused(
    seed: Path, at: int, put: bytes
) -> None:
    data = seed.read_bytes()
    messages.look(data[:at] + put + data[at:])


def test_a_reason_is_short_whatever_was_sent() -> None:
    messages.look(json.dumps({"type": "a" * 60_000}).encode())


def test_a_message_of_any_depth_is_refused() -> None:
    messages.look(b'{"type":"list","id":' + b"[" * 30_000 + b"]" * 30_000 + b"}")


def test_eight_seconds_of_fuzzing_find_nothing(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="needs the module atheris (./dev test installs it)")
    command = [sys.executable, str(ROOT / "tests/fuzz/messages.py"), "--seconds", "8"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert 0 == done.returncode, done.stderr[-3000:]
    tried = int(done.stderr.partition("number_of_executed_units:")[2].split()[0])
    assert tried > 1000
