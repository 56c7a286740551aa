"""The files that uploads leave on the disk."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from webapp.gateway import uploads


def test_what_a_killed_process_left_of_an_upload_goes_after_a_day(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    uploads.sweep()  # nothing was ever uploaded
    incoming = tmp_path / uploads.INCOMING
    for name, age in (("tmp1", 2 * uploads.ABANDONED_SECONDS), ("tmp2", 60.0)):
        (incoming / name).mkdir(parents=True)
        (incoming / name / "body").write_bytes(b"x")
        os.utime(incoming / name, (time.time() - age,) * 2)
    uploads.sweep()
    assert [folder.name for folder in incoming.iterdir()] == ["tmp2"]
