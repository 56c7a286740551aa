"""A request that its caller wrote in another protocol keeps those words until its translation changes."""

from __future__ import annotations

from webapp.patterns.types import Native, Request

NATIVE = Native("messages", {"messages": [], "max_tokens": 9})


def test_a_new_model_keeps_the_native_request() -> None:
    request = Request({"messages": [], "max_tokens": 9}, native=NATIVE).with_options(model="m")
    assert request.native is NATIVE
    assert request.body["model"] == "m"


def test_any_other_change_drops_the_native_request() -> None:
    request = Request({"messages": [], "max_tokens": 9}, native=NATIVE)
    assert request.with_options(model="m", max_tokens=5).native is None
    assert request.with_options(max_tokens=None).native is None
    assert request.with_messages([{"role": "user", "content": "shorter"}]).native is None
