"""Decide which tool calls need a person's yes. The chat's tool loop and `/v1/responses` share these rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from webapp.patterns.redaction import redact_log

ApprovalReason = Literal["acts", "untrusted", "secret"]


class Rated(Protocol):
    """Say what a call of a tool may do. `Tool` has these attributes, and so has `ListedTool` of a response."""

    @property
    def acts(self) -> bool:
        """Each call needs approval: it changes something, spends, or an administrator set the tool to *Ask*."""

    @property
    def read_only(self) -> bool:
        """A call changes nothing."""

    @property
    def untrusted(self) -> bool:
        """Its results hold content from outside."""

    @property
    def external(self) -> bool:
        """Its arguments leave this machine."""


@dataclass(slots=True)
class ApprovalRules:
    """The rules for the calls of one answer.

    Attributes:
        read_untrusted: the answer, or its conversation before, has read content from outside.
    """

    read_untrusted: bool = False

    def reason(self, tool: Rated, arguments: str) -> ApprovalReason | None:
        """Return why a call needs approval; None where it may run."""
        if tool.acts:
            return "acts"
        if self.read_untrusted and not tool.read_only:
            return "untrusted"
        return "secret" if tool.external and redact_log(arguments) != arguments else None

    def note_result(self, tool: Rated | None) -> None:
        """Note that the result of a tool was read. A tool that is not known any more may have returned content from outside."""
        if tool is None or tool.untrusted:
            self.read_untrusted = True
