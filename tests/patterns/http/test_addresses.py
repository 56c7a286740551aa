"""Which addresses a backend may have (FAULTS 14)."""

from __future__ import annotations

import pytest

from webapp.patterns.errors import InputError
from webapp.patterns.http.addresses import as_literal, check_base_url, check_url, is_forbidden, resolve


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        "fd00:ec2::254", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::169.254.169.254", "2002:a9fe:a9fe::1",
        "2001:0:a9fe:a9fe::1",
    ],
)  # fmt: skip
def test_link_local_and_metadata_addresses_are_forbidden_in_every_disguise(address: str) -> None:
    assert is_forbidden(address)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.5", "172.16.0.1", "fd12::1", "1.1.1.1", "2606:4700::1111", "::ffff:10.0.0.1"]
)
def test_loopback_private_and_public_addresses_are_allowed(address: str) -> None:
    assert not is_forbidden(address)


@pytest.mark.parametrize(
    ("host", "address"),
    [("2852039166", "169.254.169.254"), ("0xa9.0xfe.0xa9.0xfe", "169.254.169.254"), ("0251.0376.0251.0376", "169.254.169.254"),
     ("127.1", "127.0.0.1"), ("::1", "::1"), ("localhost", None), ("x.example", None)],
)  # fmt: skip
def test_numbers_are_read_as_connect_reads_them(host: str, address: str | None) -> None:
    assert as_literal(host) == address


@pytest.mark.parametrize("url", ["http://localhost:11434/v1", "https://api.openai.com/v1", "http://[::1]:8000/v1", "http://192.168.0.2/v1"])
def test_good_base_urls_pass(url: str) -> None:
    check_base_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://169.254.169.254/v1", "metadata"), ("http://2852039166/v1", "metadata"), ("http://[::ffff:a9fe:a9fe]/v1", "metadata"),
        ("http://metadata.google.internal./v1", "metadata"), ("ftp://x/v1", "http"), ("file:///etc/passwd", "http"), ("x", "http"),
        ("http:///v1", "http"), ("http://x:99999/v1", "not a URL"), ("http://[::1/v1", "not a URL"),
    ],
)  # fmt: skip
def test_bad_base_urls_are_refused_with_the_reason(url: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        check_base_url(url)
    assert caught.value.param == "base_url"


@pytest.mark.parametrize(
    "url",
    ["http://localhost/hook", "http://127.0.0.1/", "http://10.1.2.3/", "http://[::1]/", "http://224.0.0.1/", "http://[::ffff:10.0.0.1]/"],
)
def test_an_address_that_must_be_public_is_not_of_this_machine_or_a_private_network(url: str) -> None:
    check_url(url)
    with pytest.raises(InputError, match="not a public address"):
        check_url(url, public=True)


def test_a_public_address_passes() -> None:
    check_url("https://1.1.1.1/hook", public=True)
    check_url("https://hooks.example/hook", public=True)


async def test_names_are_resolved_and_numbers_need_no_resolver() -> None:
    assert await resolve("2130706433", 80) == ["127.0.0.1"]
    assert "127.0.0.1" in await resolve("localhost", 80)
    with pytest.raises(OSError, match=r".+"):
        await resolve("no-such-host.invalid", 80)
