"""A full disk is recognized wherever it is reported."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import NamedTuple

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory

from webapp.core.disk import disk_problem, is_disk_full
from webapp.server.views import server_error


class Usage(NamedTuple):
    """The result of `shutil.disk_usage`."""

    total: int
    used: int
    free: int


def chained() -> BaseException:
    error = RuntimeError("the upload failed")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    return error


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), True),
        (OSError(errno.EDQUOT, "Quota exceeded"), True),
        (OperationalError("database or disk is full"), True),
        (OperationalError('could not extend file "base/1": No space left on device'), True),
        (chained(), True),
        (OSError(errno.EACCES, "Permission denied"), False),
        (OperationalError("database is locked"), False),
        (None, False),
    ],
)
def test_a_full_disk_is_recognized(error: BaseException | None, full: bool) -> None:
    assert is_disk_full(error) is full


def test_the_page_of_a_full_disk_is_a_507_that_says_so() -> None:
    try:
        raise OperationalError("database or disk is full")  # noqa: TRY301 - Django calls the view while it handles the error
    except OperationalError:
        response = server_error(RequestFactory().get("/"))
    assert response.status_code == 507
    assert "disk is full" in response.content.decode()


@pytest.mark.django_db
def test_a_server_with_a_full_disk_is_not_ready(client: Client, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: Usage(100, 99, 1))
    assert disk_problem(tmp_path) == "only 0 MB are free"
    response = client.get("/readyz")
    assert (response.status_code, response.json()["problems"]["disk"]) == (503, "only 0 MB are free")
