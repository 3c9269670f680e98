"""What each purpose may see: every rule of the process management article, by its sentence."""

from __future__ import annotations

import pytest

from supervisor import layout
from supervisor.errors import SupervisorError
from supervisor.model import Access, ContentKind, Mount, Plan, Purpose, Role
from supervisor.rights import RIGHTS, check, rights

READ, WRITE = Access.READ, Access.WRITE
EVERY = list(RIGHTS)
APPS = [(Purpose.SERVE, ContentKind.APP), (Purpose.SERVE, ContentKind.API)]


def where(role: Role) -> str:
    parts = ("R",) if role in (Role.LIBRARY, Role.RUNTIME_DATA) else ()
    return layout.at(role, *parts)


def allows(purpose: Purpose, kind: ContentKind | None, role: Role, access: Access) -> bool:
    """Ask the check itself, not the table."""
    mount = Mount(role=role, access=access, at=where(role), name="R/4")
    plan = Plan(argv=("/x",), workdir="/", mounts=(mount,))
    try:
        check(plan, purpose, kind, runtime="mine")
    except SupervisorError as error:
        return (error.code, error.plugin) != ("plan-refused", "mine")
    return True


@pytest.mark.parametrize(("purpose", "kind"), EVERY)
def test_the_packrat_data_directory_is_read_only_except_when_installing_packages(
    purpose: Purpose, kind: ContentKind | None
) -> None:
    """ "The packrat data directory (read-only except when installing packages)." """
    assert (purpose is Purpose.INSTALL) is allows(purpose, kind, Role.LIBRARY, WRITE)


@pytest.mark.parametrize(("purpose", "kind"), EVERY)
def test_the_r_data_directory_is_shown_only_when_installing_packages(
    purpose: Purpose, kind: ContentKind | None
) -> None:
    """ "The R data directory (only when installing packages)." """
    assert (purpose is Purpose.INSTALL) is allows(purpose, kind, Role.RUNTIME_DATA, READ)


@pytest.mark.parametrize(("purpose", "kind"), EVERY)
def test_the_rendering_destination_is_shown_only_to_documents(
    purpose: Purpose, kind: ContentKind | None
) -> None:
    """ "The document rendering destination directory (only for R Markdown)." """
    documents = kind in (ContentKind.DOCUMENT, ContentKind.SITE)
    assert documents is allows(purpose, kind, Role.OUTPUT, WRITE)


@pytest.mark.parametrize(("purpose", "kind"), EVERY)
def test_every_process_has_a_temporary_directory_and_a_home(
    purpose: Purpose, kind: ContentKind | None
) -> None:
    """ "A per-process temporary directory", and "the home directory … exposed as /home"."""
    assert allows(purpose, kind, Role.SCRATCH, WRITE)
    assert allows(purpose, kind, Role.HOME, WRITE)


@pytest.mark.parametrize(("purpose", "kind"), APPS)
def test_shiny_applications_write_the_directory_of_the_unpackaged_code(
    purpose: Purpose, kind: ContentKind
) -> None:
    """ "Shiny applications have write access to the directory containing the unpackaged
    R code." """
    assert allows(purpose, kind, Role.SOURCE, WRITE)


@pytest.mark.parametrize("purpose", [Purpose.RENDER, Purpose.CUSTOMIZE])
def test_documents_write_their_destination_and_only_read_their_source(purpose: Purpose) -> None:
    """ "R Markdown documents have write access to the rendering destination directory and read
    access to a directory containing the unpackaged R code." """
    assert allows(purpose, ContentKind.DOCUMENT, Role.OUTPUT, WRITE)
    assert allows(purpose, ContentKind.DOCUMENT, Role.SOURCE, READ)
    assert not allows(purpose, ContentKind.DOCUMENT, Role.SOURCE, WRITE)


def test_a_site_writes_its_destination_and_does_not_see_its_source() -> None:
    """ "Site rendering has write access to the destination directory. Access to the original source
    directory is not provided because the source content is duplicated in the destination." """
    assert allows(Purpose.RENDER, ContentKind.SITE, Role.OUTPUT, WRITE)
    assert not allows(Purpose.RENDER, ContentKind.SITE, Role.SOURCE, READ)


def test_tidying_reads_what_content_wrote_and_changes_none_of_it() -> None:
    for role in (Role.SOURCE, Role.STATE):
        assert allows(Purpose.TIDY, None, role, READ)
        assert not allows(Purpose.TIDY, None, role, WRITE)


def test_only_unpacking_sees_the_archive_and_fills_the_source() -> None:
    for purpose, kind in EVERY:
        unpacks = purpose is Purpose.UNPACK
        assert unpacks is allows(purpose, kind, Role.BUNDLE, READ)
        assert not allows(purpose, kind, Role.BUNDLE, WRITE)
    assert allows(Purpose.UNPACK, None, Role.SOURCE, WRITE)
    assert not allows(Purpose.INSTALL, None, Role.SOURCE, WRITE)


@pytest.mark.parametrize(
    ("purpose", "kind"),
    [
        (Purpose.SERVE, None),
        (Purpose.SERVE, ContentKind.DOCUMENT),
        (Purpose.SERVE, ContentKind.STATIC),
        (Purpose.RENDER, ContentKind.APP),
        (Purpose.CUSTOMIZE, ContentKind.APP),
    ],
)
def test_a_purpose_that_is_not_for_this_kind_may_nothing(
    purpose: Purpose, kind: ContentKind | None
) -> None:
    assert {} == rights(purpose, kind)
    assert not any(allows(purpose, kind, role, READ) for role in Role)


@pytest.mark.parametrize("kind", [None, *ContentKind])
def test_installing_is_the_same_for_every_kind(kind: ContentKind | None) -> None:
    assert rights(Purpose.INSTALL, None) == rights(Purpose.INSTALL, kind)


@pytest.mark.parametrize(
    "at",
    [
        "/etc",
        "/home/x",
        "/tmp",
        layout.MOUNT_ROOT,
        f"{layout.MOUNT_ROOT}x/app",
        f"{layout.MOUNT_ROOT}/../../../etc",
        f"{layout.MOUNT_ROOT}/app/..",
        "opt/content-supervisor/mnt/app",
    ],
)
def test_a_mount_outside_the_mount_root_is_refused(at: str) -> None:
    mount = Mount(role=Role.SCRATCH, access=READ, at=at)
    plan = Plan(argv=("/x",), workdir="/", mounts=(mount,))
    with pytest.raises(SupervisorError, match="outside") as caught:
        check(plan, Purpose.SERVE, ContentKind.APP, runtime="mine")
    assert "plan-refused" == caught.value.code
