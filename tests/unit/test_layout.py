"""Where places lie, and that no message can name a file that is not ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.layout import (
    LISTEN_AT,
    MOUNT_ROOT,
    PlaceKind,
    PlaceRef,
    Role,
    at,
    components,
    log_components,
)

DIGEST = "a" * 64


@pytest.mark.parametrize(
    ("place", "path"),
    [
        (PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(12, 3)), "apps/12/3"),
        (PlaceRef(kind=PlaceKind.RENDERING, ids=(1, 2, 3)), "reports/1/2/3"),
        (PlaceRef(kind=PlaceKind.STATE, ids=(12,)), "state/12"),
        (PlaceRef(kind=PlaceKind.SCRATCH, components=("run1",)), "tmp/run1"),
        (PlaceRef(kind=PlaceKind.BUNDLE, components=(DIGEST,)), f"bundles/{DIGEST}.tar.gz"),
        (PlaceRef(kind=PlaceKind.LIBRARY, components=("R", "4.2.2")), "libraries/R/4.2.2"),
    ],
)
def test_every_kind_of_place_lies_in_a_directory_of_its_own(place: PlaceRef, path: str) -> None:
    assert path == "/".join(components(place))


@pytest.mark.parametrize(
    "place",
    [
        PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(12,)),
        PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(12, 0)),
        PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(12, -3)),
        PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(12, True)),
        PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(12, 2**53)),
        PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(12, "3")),  # type: ignore[arg-type]
        PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(12, 3), components=("x",)),
        PlaceRef(kind=PlaceKind.SCRATCH, components=("..",)),
        PlaceRef(kind=PlaceKind.SCRATCH, components=(".",)),
        PlaceRef(kind=PlaceKind.SCRATCH, components=("",)),
        PlaceRef(kind=PlaceKind.SCRATCH, components=("a/b",)),
        PlaceRef(kind=PlaceKind.SCRATCH, components=("a\n",)),
        PlaceRef(kind=PlaceKind.SCRATCH, components=("a\0",)),
        PlaceRef(kind=PlaceKind.SCRATCH, components=("é",)),
        PlaceRef(kind=PlaceKind.SCRATCH, components=("x" * 256,)),
        PlaceRef(kind=PlaceKind.SCRATCH),
        PlaceRef(kind=PlaceKind.BUNDLE, components=("A" * 64,)),
        PlaceRef(kind=PlaceKind.BUNDLE, components=(f"{DIGEST}\n",)),
        PlaceRef(kind=PlaceKind.LIBRARY, components=("a",) * 7),
        PlaceRef(kind="elsewhere"),  # type: ignore[arg-type]
    ],
)
def test_a_place_of_the_wrong_shape_is_refused(place: PlaceRef) -> None:
    with pytest.raises(ValueError):
        components(place)


@given(
    kind=st.sampled_from(PlaceKind),
    ids=st.lists(st.integers(-2, 2**60), max_size=4).map(tuple),
    parts=st.lists(st.text(max_size=70), max_size=8).map(tuple),
)
def test_whatever_is_named_lies_beneath_the_data_directory(
    kind: PlaceKind, ids: tuple[int, ...], parts: tuple[str, ...]
) -> None:
    try:
        found = components(PlaceRef(kind=kind, ids=ids, components=parts))
    except ValueError:
        return
    assert len(found) >= 2
    assert not {"", ".", ".."} & set(found)
    assert not any("/" in part or "\0" in part for part in found)


def test_roles_lie_beneath_the_mount_root_and_home_at_home() -> None:
    assert "/home" == at(Role.HOME)
    assert f"{MOUNT_ROOT}/app" == at(Role.SOURCE)
    assert f"{MOUNT_ROOT}/R/4.2.2" == at(Role.LIBRARY, "R", "4.2.2")
    assert f"{at(Role.SOCKET)}/app.sock" == LISTEN_AT
    with pytest.raises(ValueError):
        at(Role.LIBRARY)


def test_roles_do_not_lie_in_each_other() -> None:
    simple = [role for role in Role if role not in (Role.LIBRARY, Role.RUNTIME_DATA)]
    assert len(simple) == len({at(role) for role in simple})


def test_the_log_of_a_run_lies_with_its_content() -> None:
    assert ("jobs", "12", "run1", "log") == log_components(12, "run1")
