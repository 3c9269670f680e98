"""`examine`, which goes on after each mistake, agrees with `load`, which stops at the first."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import SupervisorError
from supervisor.settings import load
from supervisor.settings.keys import keys_of
from supervisor.settings.load import examine
from supervisor.settings.sections import SECTIONS

KEYS = [key.name for kind in SECTIONS for key in keys_of(kind).values()]
VALUES = st.sampled_from(
    ["", "1", "0", "5s", "9" * 30, "true", "/x", ":1", "[::1]:2", "5 MB", "half", '"open', "\\q"]
) | st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=12)  # fmt: skip
HEADERS = st.sampled_from([f"[{kind.section}]" for kind in SECTIONS]) | st.sampled_from(
    ['[Mount "a"]', '[Mount "b c"]', '[Server "x"]', "[Moon]", "[", "[]"]
)
LINES = HEADERS | st.builds("{} = {}".format, st.sampled_from([*KEYS, "Nobody"]), VALUES)


@given(st.lists(LINES, max_size=14).map("\n".join))
def test_a_file_can_be_loaded_where_nothing_is_wrong_with_it_and_only_there(text: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory, "test.gcfg")
        file.write_text(text, newline="")
        found = examine(str(file), environ={})
        if not found.problems:
            assert found.entries == load(str(file), environ={}).entries
            return
        with pytest.raises(SupervisorError) as refused:
            load(str(file), environ={})
    assert refused.value.message in {problem.message for problem in found.problems}


@given(st.dictionaries(st.sampled_from(KEYS).map(str.upper), VALUES, max_size=4))
def test_the_environment_is_refused_in_a_sentence_or_taken(given_: dict[str, str]) -> None:
    environ = {"HOME": "/nowhere"} | {
        f"SUPERVISOR_{kind.section.upper()}_{name}": value
        for name, value in given_.items()
        for kind in SECTIONS
        if name.lower() in keys_of(kind)
    }
    with suppress(SupervisorError):
        load(environ=environ, uid=1)
