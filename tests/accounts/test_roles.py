"""Users, managers, administrators."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission
from django.test import Client

from tests.users import Users
from webapp.accounts import services
from webapp.accounts.models import Budget


@pytest.fixture(autouse=True)
def roles(db: None) -> None:
    services.seed_roles()


def test_a_manager_changes_backends_and_budgets_but_no_users(users: Users, as_owner: Client) -> None:
    services.set_role(user=users.owner, role="manager")
    assert users.owner.role == "manager"
    assert users.owner.has_perm("backends.change_backend")
    assert as_owner.get("/admin/accounts/budget/add/").status_code == 200
    assert as_owner.get("/admin/accounts/user/").status_code == 200
    assert as_owner.get("/admin/accounts/user/add/").status_code == 403


def test_a_role_is_taken_back(users: Users, as_owner: Client) -> None:
    services.set_role(user=users.owner, role="manager")
    services.set_role(user=users.owner, role="user")
    assert as_owner.get("/admin/backends/backend/").status_code == 302


def test_an_administrator_gives_roles_and_it_is_logged(users: Users, as_administrator: Client) -> None:
    form = {"action": "make_manager", "_selected_action": [users.other.pk]}
    assert as_administrator.post("/admin/accounts/user/", form).status_code == 302
    users.other.refresh_from_db()
    assert users.other.role == "manager"
    assert LogEntry.objects.get(object_id=str(users.other.pk)).change_message == "Role set to manager."


def test_a_budget_belongs_to_a_user_or_a_group(users: Users, as_administrator: Client) -> None:
    refused = as_administrator.post("/admin/accounts/budget/add/", {"monthly": "5"})
    assert b"Choose a user or a group, not both." in refused.content
    as_administrator.post("/admin/accounts/budget/add/", {"monthly": "5", "user": users.owner.pk})
    assert str(Budget.objects.get()) == "user owner: 5 per month"


def test_a_manager_sets_limits_and_the_history_says_to_what(users: Users, as_owner: Client) -> None:
    services.set_role(user=users.owner, role="manager")
    form = {"user": users.other.pk, "requests_per_minute": "20", "tokens_per_minute": "9000"}
    assert as_owner.post("/admin/accounts/budget/add/", form).status_code == 302
    budget = Budget.objects.get()
    assert (budget.monthly, budget.requests_per_minute, budget.tokens_per_minute) == (None, 20, 9000)
    as_owner.post(f"/admin/accounts/budget/{budget.pk}/change/", {**form, "requests_per_minute": "30"})
    added, changed = LogEntry.objects.order_by("action_time")
    assert added.change_message == "Set to user other: 20 requests per minute, 9000 tokens per minute."
    assert (changed.change_message, changed.user_id) == (
        "Set to user other: 30 requests per minute, 9000 tokens per minute.",
        users.owner.pk,
    )
    nothing = as_owner.post(f"/admin/accounts/budget/{budget.pk}/change/", {"user": users.other.pk})
    assert b"Set a budget, requests per minute or tokens per minute." in nothing.content


def test_the_last_administrator_stays_one(users: Users, as_administrator: Client) -> None:
    page = f"/admin/accounts/user/{users.administrator.pk}"
    demoted = as_administrator.post(
        "/admin/accounts/user/", {"action": "make_user", "_selected_action": [users.administrator.pk]}, follow=True
    )
    suspended = as_administrator.post(f"{page}/change/", {"username": "administrator", "is_superuser": "on"})
    deleted = as_administrator.post(f"{page}/delete/", {"post": "yes"})
    assert b"administrator is the last administrator" in demoted.content
    assert b"administrator is the last administrator" in suspended.content
    assert deleted.status_code == 403
    services.set_role(user=users.other, role="administrator")
    services.set_role(user=users.administrator, role="user")
    assert users.administrator.role == "user"


def test_roles_are_given_where_the_group_of_managers_was_deleted(users: Users) -> None:
    Group.objects.filter(name=services.MANAGERS).delete()
    services.set_role(user=users.owner, role="manager")
    assert users.owner.has_perm("backends.change_backend")


def test_an_unknown_role_is_refused(users: Users) -> None:
    with pytest.raises(ValueError, match="not a role"):
        services.set_role(user=users.owner, role="king")


def test_the_form_of_a_user_has_a_role_and_no_raw_permissions(users: Users, as_administrator: Client) -> None:
    address = f"/admin/accounts/user/{users.other.pk}/change/"
    page = as_administrator.get(address).content.decode()
    assert "Manager: also configures backends" in page
    assert "Can add log entry" not in page
    lab = Group.objects.create(name="Lab")
    form = {"username": "other", "is_active": "on", "role": "manager", "groups": [lab.pk]}
    assert as_administrator.post(address, form).status_code == 302
    users.other.refresh_from_db()
    assert users.other.role == "manager"
    assert set(users.other.groups.values_list("name", flat=True)) == {"Lab", services.MANAGERS}
    as_administrator.post(address, {**form, "role": "user"})
    assert set(users.other.groups.values_list("name", flat=True)) == {"Lab"}


def test_only_an_administrator_changes_roles(users: Users, as_owner: Client) -> None:
    services.set_role(user=users.owner, role="manager")
    users.owner.user_permissions.add(Permission.objects.get(codename="change_user"))
    form = {"username": "other", "is_active": "on", "role": "administrator"}
    as_owner.post(f"/admin/accounts/user/{users.other.pk}/change/", form)
    users.other.refresh_from_db()
    assert users.other.role == "user"


def test_groups_are_listed_with_their_members_and_without_the_managers(users: Users, as_administrator: Client) -> None:
    services.set_role(user=users.owner, role="manager")
    lab = Group.objects.create(name="Lab")
    users.owner.groups.add(lab)
    page = as_administrator.get("/admin/auth/group/").content.decode()
    assert f"groups__id__exact={lab.pk}" in page
    assert services.MANAGERS not in page
