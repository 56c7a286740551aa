"""FAULTS 49: writers do not lock each other out."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.live import Live, copied

WRITERS = 8
WRITE = """
import multiprocessing
import time
from django.db import connections, transaction
from webapp.accounts.models import User

def write(results):
    written, until = 0, time.monotonic() + {seconds}
    try:
        while time.monotonic() < until:
            with transaction.atomic():
                user = User.objects.select_for_update().get(username="owner")
                user.last_name = str(written)
                user.save()
            written += 1
    except Exception as error:
        written = repr(error)
    results.put(written)

connections.close_all()
fork = multiprocessing.get_context("fork")
results = fork.Queue()
writers = [fork.Process(target=write, args=(results,)) for _ in range({writers})]
for writer in writers:
    writer.start()
print([results.get() for _ in writers])
"""


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(200)])])
def test_eight_writers_never_see_a_locked_database(populated_home: Path, tmp_path_factory: pytest.TempPathFactory, seconds: int) -> None:
    """FAULTS 49: on SQLite, eight processes at once; all commit, none is told "database is locked"."""
    live = Live(copied(populated_home, tmp_path_factory))
    written = ast.literal_eval(live.run_python(WRITE.format(seconds=seconds, writers=WRITERS)))
    assert [result for result in written if not isinstance(result, int)] == []
    assert sum(written) > 50 * seconds
