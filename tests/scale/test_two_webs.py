"""Two web processes are one product."""

from __future__ import annotations

import pytest

from tests.live import Live

pytestmark = [pytest.mark.postgres, pytest.mark.redis]


def test_a_session_of_one_is_a_session_of_the_other(two_webs: tuple[Live, Live]) -> None:
    first, second = two_webs
    client = first.sign_in("owner")
    assert client.get(f"{second.url}/accounts/profile/").status_code == 200
