"""Moving to another database, verified."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from tests.live import Live, copied

SOME_ROWS = """
from webapp.accounts.models import User
from webapp.backends.config.crypto import Secret
from webapp.backends.models import Backend, Route, RouteStep
backend = Backend.objects.create(name="copied", base_url="http://localhost:8001/v1", api_key=Secret.of("sk-of-the-test"))
route = Route.objects.create(name="copied")
route.allowed_users.add(User.objects.get(username="owner"))
from django.contrib.auth.models import Group, Permission
moved = Permission.objects.get(codename="view_route")
moved.pk = None
Permission.objects.filter(codename="view_route").delete()
moved.save()  # as a later release makes them: with an id that a new database gives to none, or to another
group = Group.objects.create(name="copied")
group.permissions.add(moved)
RouteStep.objects.create(route=route, backend=backend, model="llama")
"""

GROUP_PERMISSIONS = """
SELECT g.name, codename FROM auth_group g JOIN auth_group_permissions ON group_id = g.id
JOIN auth_permission p ON p.id = permission_id ORDER BY p.id
"""


@pytest.fixture
def installation(populated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Live:
    """An installation with rows in it, not running."""
    live = Live(copied(populated_home, tmp_path_factory))
    live.run_python(SOME_ROWS)
    return live


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as database:
        return database.execute(query).fetchall()


def test_everything_arrives_unchanged_once(installation: Live, tmp_path: Path) -> None:
    """Counts and hashes agree, times and secrets are kept, and a second copy over the first is refused."""
    target = tmp_path / "copy.sqlite3"
    done = installation.manage("copy_database", "--to", f"sqlite:///{target}")
    assert done.returncode == 0, done.stderr
    assert "WRONG" not in done.stdout
    source = installation.home / "patchbay.sqlite3"
    for query in (
        "SELECT username, password, date_joined FROM accounts_user ORDER BY id",
        "SELECT name, api_key, created_at, updated_at FROM backends_backend ORDER BY id",
        "SELECT route_id, user_id FROM backends_route_allowed_users",
        GROUP_PERMISSIONS,
    ):
        assert rows(target, query) == rows(source, query)
        assert rows(target, query) != []
    again = installation.manage("copy_database", "--to", f"sqlite:///{target}")
    assert again.returncode == 1
    assert "already has rows" in again.stderr


def test_other_databases_are_refused_before_anything_is_tried() -> None:
    with pytest.raises(CommandError, match="only postgres:// and sqlite:/// addresses"):
        call_command("copy_database", "--to", "mysql://patchbay:secret@localhost/patchbay")
