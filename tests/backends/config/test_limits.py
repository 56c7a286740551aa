"""Each user has the limits per minute that apply to them."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group

from tests.users import Users
from webapp.accounts.models import Budget, User
from webapp.backends.config import limits, snapshot
from webapp.backends.config.limits import Limit
from webapp.backends.models import Allowance
from webapp.backends.runtime import rate_limits, registry
from webapp.patterns.errors import LimitReached
from webapp.patterns.types import Attempt, AttemptLog, Usage


def test_a_user_has_their_own_limits_or_the_servers_and_those_of_all_their_groups(users: Users, settings: LazySettings) -> None:
    lab, club = Group.objects.create(name="Lab"), Group.objects.create(name="Club")
    lab.user_set.add(users.owner, users.other)
    club.user_set.add(users.owner)
    Budget.objects.create(user=users.owner, tokens_per_minute=9000)
    Budget.objects.create(user=users.administrator, monthly=5)
    Budget.objects.create(group=lab, requests_per_minute=100)
    Budget.objects.create(group=club, requests_per_minute=50)
    together = Limit("group", lab.pk, "all members of Lab together", 100)
    owners = Limit("group", club.pk, "all members of Club together", 50)
    known = limits.load()
    assert known.of(users.owner.pk) == (Limit("user", users.owner.pk, "you", None, 9000), together, owners)
    assert known.of(users.other.pk) == (together,)
    assert known.of(users.administrator.pk) == ()
    settings.REQUESTS_PER_MINUTE, settings.TOKENS_PER_MINUTE = 20, 1000
    known = limits.load()
    assert known.of(users.owner.pk)[0] == Limit("user", users.owner.pk, "you", 20, 9000)
    assert known.of(users.administrator.pk) == (Limit("user", users.administrator.pk, "you", 20, 1000),)


def test_every_change_of_a_limit_or_of_a_groups_members_is_seen(users: Users) -> None:
    version = [snapshot.version()]

    def changed() -> bool:
        version.append(snapshot.version())
        return version[-1] > version[-2]

    group = Group.objects.create(name="Lab")
    budget = Budget.objects.create(group=group, requests_per_minute=1)
    assert changed()
    users.owner.groups.add(group)
    assert changed()
    group.name = "Laboratory"
    group.save()
    assert changed()
    budget.delete()
    assert changed()


@pytest.mark.django_db(transaction=True)
async def test_who_has_no_limit_asks_the_database_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    user = await User.objects.acreate(username="free")
    await registry.current().snapshot()
    trail = AttemptLog()
    trail.add(Attempt("up", "m", usage=Usage(70, 0)))
    monkeypatch.setattr(rate_limits, "in_database", None)
    monkeypatch.setattr(registry, "in_database", None)
    await (await rate_limits.admit(user.pk)).settle(trail)


@pytest.mark.django_db(transaction=True)
async def test_what_the_later_attempts_of_a_request_used_is_counted_once() -> None:
    user = await User.objects.acreate(username="limited")
    await Budget.objects.acreate(user=user, tokens_per_minute=100, requests_per_minute=1)
    trail = AttemptLog()
    for tokens in (70, 20):
        trail.add(Attempt("up", "m", usage=Usage(tokens, 0)))
    asked = await rate_limits.admit(user.pk)
    await asked.settle(trail, since=1)
    assert 80 <= (await Allowance.objects.aget()).tokens_left < 81
    with pytest.raises(LimitReached):
        await rate_limits.admit(user.pk)
    await registry.aclose()
