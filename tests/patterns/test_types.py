"""The common currency of the patterns."""

from __future__ import annotations

from webapp.patterns.types import Attempt, AttemptLog, Request, Usage


def test_options_that_are_none_are_left_out_and_tools_only_sent_where_there_are_some() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    assert Request.chat(messages, temperature=None, seed=0).body == {"messages": messages, "seed": 0}
    assert Request.chat(messages, tools=[{"type": "function"}]).body == {"messages": messages, "tools": [{"type": "function"}]}


def attempt(outcome: str, usage: Usage, cost: float | None) -> Attempt:
    made = Attempt(backend="up", model="m")
    made.outcome, made.usage, made.cost = outcome, usage, cost  # type: ignore[assignment]  # a plain string is an outcome
    return made


def test_a_trail_sums_what_its_attempts_used_and_names_who_served() -> None:
    trail = AttemptLog()
    assert (trail.usage, trail.cost, trail.served_by) == (Usage(), None, None)
    trail.add(attempt("failed", Usage(5, 0), None))
    assert (trail.cost, trail.served_by) == (None, None)
    served = trail.add(attempt("ok", Usage(5, 7), 0.25))
    trail.add(attempt("skipped", Usage(), 0.5))
    assert (trail.usage, trail.cost, trail.served_by) == (Usage(10, 7), 0.75, served)
