"""Made bundles: what a publisher might send, as a runtime sees it and as an archive."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from typing import Any

import attrs

from supervisor.interfaces import SourceFile
from supervisor.programs.unpack import TEXT_BYTES, WANTED


@attrs.frozen(kw_only=True)
class MadeBundle:
    """A bundle. files: path → text; manifest: what manifest.json holds, None: there is none."""

    files: Mapping[str, str]
    manifest: Mapping[str, Any] | None = None

    def sources(self) -> tuple[SourceFile, ...]:
        """Give what Runtime.detect is given: text only of files that a server would look into."""
        return tuple(
            SourceFile(
                path=path,
                size=len(text.encode()),
                text=text[:TEXT_BYTES] if WANTED.fullmatch(path) else None,
            )
            for path, text in sorted(self.files.items())
        )

    def archive(self) -> bytes:
        """Give the tar.gz of an upload; the same bytes for the same bundle."""
        texts = dict(self.files)
        if self.manifest is not None:
            texts["manifest.json"] = json.dumps(self.manifest)
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, text in sorted(texts.items()):
                entry = tarfile.TarInfo(path)
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
        return gzip.compress(tar.getvalue(), mtime=0)
