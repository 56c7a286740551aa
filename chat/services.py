"""Write conversations: messages, generations, settings, folders, prompts."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import DatabaseError, IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from chat import assistants, selectors
from chat.html.answer_html import finished_html
from chat.models import Conversation, Generation, LogRow, Message, Owner, Prompt, SentRequest, Upload
from chat.streaming.answer import Answer
from webapp.accounts.models import User
from webapp.core import leases
from webapp.core.database import DB_UNAVAILABLE
from webapp.core.leases import SilenceWatch
from webapp.patterns import sanitize
from webapp.patterns.errors import BudgetSpent, LimitReached, PatternError
from webapp.ports import conversation_documents

logger = logging.getLogger("patchbay.chat")
MAX_TEXT = 1_000_000
REFUSED = "The database could not store this answer completely. Try again. The server's log has the details."
MAX_MODEL = 300
MAX_COMPARED = 3
Role, Status = Message.Role, Message.Status


class Refused(Exception):
    """Report that an action is not possible now. The text tells the user why, and what to do."""


@dataclass(slots=True)
class Started:
    """A generation that is stored and may begin."""

    generation: Generation
    conversation: Conversation
    answer: Message
    question: Message | None = None
    created: bool = False
    moved: bool = False
    """The shown branch changed, so readers need the whole log again."""

    @property
    def model(self) -> str:
        """Return the route or model to call."""
        return self.answer.model if self.answer.compare else self.conversation.model


@dataclass(slots=True)
class Outcome:
    """The result of a generation."""

    status: str = Status.DONE
    error: str = ""
    finish_reason: str = ""
    trail: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    requests: dict[int, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    """By position in `trail`: the base URL and the body that was sent."""

    def fail(self, error: PatternError) -> None:
        """Record the error. A limit or budget is not a failure of the system, so its code is kept as the finish reason."""
        self.status, self.error = Status.FAILED, error.message
        self.finish_reason = error.code if isinstance(error, BudgetSpent | LimitReached) else ""


@transaction.atomic(savepoint=False)
def send_message(
    *, owner: UUID, conversation_id: UUID, user: User, text: str, model: str = "", attachments: Sequence[dict[str, Any]] = ()
) -> Started:
    """Add a question to the end of the shown branch (in a new conversation, if the id is unused), and begin its answer."""
    text = _checked(text, attachments)
    if text.startswith("/") and selectors.is_command(text[1:], user):  # sent before the menu had loaded
        raise Refused(_("%(text)s is a command. Choose it from the list that opens when you type /.") % {"text": text})
    question, answer = Message(role=Role.USER, text=text, attachments=list(attachments)), _unwritten()
    new: dict[str, Any] = {
        "user": user,
        "updated_at": timezone.now(),
        "title": first_words(text),
        "leaf": answer,
        **_chosen(user, model),
    }
    # The conversation points at its last message before that is stored: foreign keys are checked at the end of the transaction.
    conversation, created = Conversation.objects.get_or_create(id=conversation_id, defaults=new)
    if conversation.user_id != user.pk:
        raise selectors.NotFound(str(conversation_id))
    if not created:
        _choose(conversation, model)
        conversation.title = conversation.title or first_words(text)
        question.parent_id = conversation.leaf_id
    question.conversation = answer.conversation = conversation
    answer.parent, answer.model, conversation.leaf = question, conversation.model, answer
    Message.objects.bulk_create([question, answer])
    if attachments:
        Upload.objects.filter(id__in=[item["id"] for item in attachments]).update(conversation=conversation)
    return _run(owner, conversation, answer, question=question, created=created)


def compare_models(
    *, owner: UUID, conversation_id: UUID, user: User, text: str, models: Sequence[str], attachments: Sequence[dict[str, Any]] = ()
) -> list[Started]:
    """Ask two or three routes the same question at once: sibling answers, shown side by side until the user picks one."""
    names = list(dict.fromkeys(filter(None, map(_model, models))))
    if not 2 <= len(names) <= MAX_COMPARED:
        raise Refused(_("Choose two or three different models to compare, not %(names)s.") % {"names": len(names)})
    first = send_message(owner=owner, conversation_id=conversation_id, user=user, text=text, model=names[0], attachments=attachments)
    first.answer.compare = first.generation.id
    first.answer.save(update_fields=["compare"])
    return [first, *(_beside(first, slot, model) for slot, model in enumerate(names[1:], 1))]


def _beside(first: Started, slot: int, model: str) -> Started:
    conversation, group = first.conversation, first.answer.compare
    answer = Message.objects.create(
        conversation=conversation, parent=first.question, role=Role.ASSISTANT, status=Status.STREAMING, model=model, compare=group
    )
    generation = Generation.objects.create(conversation=conversation, message=answer, owner=first.generation.owner, slot=slot)
    return Started(generation, conversation, answer)


def pick_answer(*, message: Message) -> None:
    """End a comparison. The conversation continues with this answer and its model; the others stay as branches."""
    if message.compare is None:
        raise Refused(_("This comparison has already ended."))
    _end_comparison(message.conversation_id)
    change_conversation(conversation=message.conversation, leaf=message, model=message.model, updated_at=timezone.now())


def _end_comparison(conversation_id: UUID) -> bool:
    """Make the answers that stand side by side ordinary branches; return whether there were any."""
    return bool(Message.objects.filter(conversation=conversation_id, compare__isnull=False).update(compare=None))


def edit_message(*, owner: UUID, message_id: UUID, user: User, text: str) -> Started:
    """Ask a question of the branch with a new text: a sibling, and an answer to it."""
    old = selectors.message(message_id, user)
    if old.role != Role.USER:
        raise Refused(_("Only questions can be edited."))
    question = Message.objects.create(
        conversation=old.conversation,
        parent_id=old.parent_id,
        role=Role.USER,
        text=_checked(text, old.attachments),
        attachments=old.attachments,
    )
    return _begin(owner, old.conversation, question, question=question, moved=True)


def regenerate_answer(*, owner: UUID, message_id: UUID, user: User, model: str = "") -> Started:
    """Answer the same question again, next to the old answer; or answer a question whose answer was deleted."""
    old = selectors.message(message_id, user)
    question = old if old.role == Role.USER else old.parent
    if question is None:
        raise Refused(_("The question to this answer is gone."))
    if model:
        _choose(old.conversation, model)
    return _begin(owner, old.conversation, question, moved=True)


def continue_answer(*, owner: UUID, message_id: UUID, user: User) -> Started:
    """Continue an answer that was stopped, interrupted, or truncated, in the same message."""
    answer = selectors.message(message_id, user)
    if answer.role != Role.ASSISTANT or answer.status == Status.STREAMING:
        raise Refused(_("This answer cannot be continued."))
    answer.status, answer.error = Status.STREAMING, ""
    answer.save(update_fields=["status", "error"])
    answer.conversation.leaf = answer
    return _run(owner, answer.conversation, answer, moved=True)


def _chosen(user: User, model: str) -> dict[str, Any]:
    """Return the fields of a new conversation that come from the choice of a model or an assistant."""
    fresh = Conversation(user=user, system_prompt=user.system_prompt)
    if model:
        assistants.choose(fresh, _model(model))
    return {name: getattr(fresh, name) for name in assistants.CHOSEN}


def _choose(conversation: Conversation, model: str) -> None:
    """Have a stored conversation use a model or an assistant, if one is named."""
    if model and assistants.choose(conversation, _model(model)):
        conversation.save(update_fields=assistants.CHOSEN)


def _model(name: str) -> str:
    """Truncate a model name to the column length. Unknown models fail when they are called."""
    return name.replace("\x00", "")[:MAX_MODEL]


def _checked(text: str, attachments: Sequence[dict[str, Any]]) -> str:
    text = text.replace("\x00", "").strip()
    if not text and not attachments:
        raise Refused(_("Write something first."))
    if len(text) > MAX_TEXT:
        raise Refused(_("Messages can be up to %(MAX_TEXT)s characters. Attach longer text as a file.") % {"MAX_TEXT": f"{MAX_TEXT:,}"})
    return text


def _unwritten() -> Message:
    """Return an answer that is about to be written."""
    return Message(role=Role.ASSISTANT, status=Status.STREAMING)


def _begin(owner: UUID, conversation: Conversation, parent: Message, **details: Any) -> Started:
    answer = _unwritten()
    answer.conversation, answer.parent, answer.model = conversation, parent, conversation.model
    answer.save(force_insert=True)
    conversation.leaf = answer
    return _run(owner, conversation, answer, **details)


def _run(owner: UUID, conversation: Conversation, answer: Message, *, created: bool = False, **details: Any) -> Started:
    """Store the generation of an answer. A conversation that was just created needs no more than that."""
    busy = Refused(_("Still answering. Stop it, or wait until it has finished."))
    if not created:
        if Generation.objects.filter(conversation=conversation, running=True).exists():
            raise busy
        if _end_comparison(conversation.id):
            details["moved"] = True  # the columns of the comparison become branches
    answer.compare = None
    try:
        with transaction.atomic():
            generation = Generation.objects.create(conversation=conversation, message=answer, owner=owner)
    except IntegrityError:
        raise busy from None
    if not created:
        conversation.updated_at = timezone.now()
        conversation.archived = False
        conversation.save(update_fields=["leaf", "model", "title", "updated_at", "archived"])
    return Started(generation, conversation, answer, created=created, **details)


def finish_generation(*, generation_id: UUID, parts: list[dict[str, Any]], outcome: Outcome, html: str) -> Message | None:
    """Store the complete answer and delete its log; return None if another process marked it as interrupted."""
    if not Generation.objects.filter(id=generation_id, running=True).update(running=False):
        return None
    message = Message.objects.select_related("conversation").get(generations=generation_id)
    sent = [
        SentRequest(message=message, number=len(message.trail) + place, base_url=base_url, body=sanitize.clean(body))
        for place, (base_url, body) in outcome.requests.items()
    ]
    if sent:
        SentRequest.objects.bulk_create(sent)
    _fill(message, parts, outcome, html)
    LogRow.objects.filter(generation=generation_id).delete()
    changed: dict[str, Any] = {"summary": outcome.summary} if outcome.summary else {}
    Conversation.objects.filter(id=message.conversation_id).update(updated_at=timezone.now(), **changed)
    return message


def _fill(message: Message, parts: list[dict[str, Any]], outcome: Outcome, html: str) -> None:
    message.parts = parts
    message.text = "\n\n".join(part["text"] for part in parts if part["kind"] == "text")
    message.html = html
    message.status = outcome.status
    message.error = sanitize.text(outcome.error)[:2000]
    message.finish_reason = sanitize.text(outcome.finish_reason)[:20]
    message.trail = [*message.trail, *sanitize.clean(outcome.trail)]
    message.report = sanitize.clean(outcome.report) or message.report
    message.finished_at = timezone.now()
    written = ["parts", "text", "html", "status", "error", "finish_reason", "trail", "report", "finished_at"]
    message.save(update_fields=written)


def request_stop(*, conversation_id: UUID, user: User) -> list[UUID]:
    """Ask the process that runs the conversation's generations to stop them; return their ids."""
    running = Generation.objects.filter(conversation=conversation_id, conversation__user=user, running=True)
    ids = list(running.values_list("id", flat=True))
    Generation.objects.filter(id__in=ids).update(stop_requested=True)
    return ids


def stops_requested(owner: UUID) -> list[UUID]:
    """Return the running generations of this process that a user asked to stop."""
    return list(Generation.objects.filter(owner=owner, running=True, stop_requested=True).values_list("id", flat=True))


def heartbeat(owner: UUID, process: str) -> None:
    """Record that this process is alive."""
    Owner.objects.update_or_create(id=owner, defaults={"seen_at": timezone.now(), "process": process})


def deregister(owner: UUID) -> None:
    """Deregister this process on a clean shutdown."""
    Owner.objects.filter(id=owner).delete()


def interrupt_orphans(me: UUID, watch: SilenceWatch[UUID]) -> list[UUID]:
    """Mark the generations of dead processes as interrupted, keep the text of their logs, and return their conversations.

    A process is dead if this machine knows that it has ended, or if `watch` saw no sign of life for too long.
    """
    others = {owner.id: owner for owner in Owner.objects.exclude(id=me)}
    silent = watch.silent({id_: owner.seen_at for id_, owner in others.items()})
    ended = [id_ for id_, owner in others.items() if leases.is_dead(owner.process)]
    if silent or ended:
        Owner.objects.filter(id__in={*silent, *ended}).delete()
    living = Owner.objects.values("id")
    orphans = list(Generation.objects.filter(running=True).exclude(owner=me).exclude(owner__in=living).select_related("message"))
    return [generation.conversation_id for generation in orphans if _ended(generation)]


def interrupt_unknown(me: UUID, known: Collection[UUID], watch: SilenceWatch[UUID]) -> list[UUID]:
    """Interrupt generations of this process that it does not run; return their conversations.

    Such a row remains where the answer to a commit was lost: the row was stored, and this process learned of a failure. `watch` gives a
    generation that is beginning right now the time to do so.
    """
    unknown = list(Generation.objects.filter(owner=me, running=True).exclude(id__in=known).select_related("message"))
    lost = set(watch.silent({generation.id: "" for generation in unknown}))
    return [generation.conversation_id for generation in unknown if generation.id in lost and _ended(generation)]


def _ended(generation: Generation) -> bool:
    """Interrupt an orphan. If the database rejects the answer from its log, end it without the answer, so that it blocks no other."""
    try:
        return _interrupt(generation)
    except DB_UNAVAILABLE:
        raise
    except (DatabaseError, ValueError):
        logger.exception("The database refused the answer of %s", generation.id)
        outcome, before = Outcome(status=Status.FAILED, error=REFUSED), generation.message
        with transaction.atomic():
            return finish_generation(generation_id=generation.id, parts=before.parts, outcome=outcome, html=before.html) is not None


@transaction.atomic
def _interrupt(generation: Generation) -> bool:
    answer = Answer(generation.message.parts)
    for row in generation.log.all():
        for event in row.events:
            answer.apply(event)
    answer.settle()
    parts = answer.as_json()
    outcome = Outcome(status=Status.INTERRUPTED, error="The server stopped while this answer was being written.")
    html = finished_html(generation.message_id, parts)
    return finish_generation(generation_id=generation.id, parts=parts, outcome=outcome, html=html) is not None


def first_words(text: str) -> str:
    """Return a title from the start of a text: whole words, at most 60 characters."""
    line = " ".join(text.split())
    if len(line) <= 60:
        return line
    return line[:60].rsplit(" ", 1)[0].rstrip(",.;:") + "…"


def set_title(*, conversation_id: UUID, title: str) -> None:
    """Set the title of a conversation."""
    Conversation.objects.filter(id=conversation_id).update(title=_clean_title(title), titled=True)


def set_first_title(*, conversation_id: UUID, title: str) -> Conversation | None:
    """Set the title of a conversation that nobody has titled yet, and return it; None if it has a title."""
    untitled = Conversation.objects.filter(id=conversation_id, titled=False)
    changed = untitled.update(title=_clean_title(title), titled=True)
    return Conversation.objects.get(id=conversation_id) if changed else None


def _clean_title(title: str) -> str:
    return " ".join(title.replace("\x00", " ").split())[:200]


def update_settings(*, conversation: Conversation, system_prompt: str, options: dict[str, Any]) -> None:
    """Set the settings of a conversation, and create the conversation if it is new."""
    conversation.system_prompt, conversation.options = system_prompt, options
    conversation.updated_at = timezone.now()
    conversation.save()


def share_conversation(*, conversation: Conversation, on: bool, live: bool = False) -> None:
    """Let anyone with the link read the conversation, or revoke the link. A new state of a shared conversation keeps its link.

    Args:
        live: show later messages too; otherwise the page ends where the conversation ends now.
    """
    if on and Generation.objects.filter(conversation=conversation, running=True).exists() and not live:
        raise Refused(_("Stop the running answer first."))
    conversation.share_token = (conversation.share_token or secrets.token_urlsafe(24)) if on else None
    conversation.share_live, conversation.share_leaf_id = on and live, conversation.leaf_id if on else None
    conversation.save(update_fields=["share_token", "share_live", "share_leaf"])


def delete_conversation(*, conversation: Conversation) -> None:
    """Delete a conversation with all its branches and documents."""
    if documents := conversation_documents.documents():
        documents.forget(user=conversation.user, conversation_id=conversation.id)
    conversation.delete()


def show_branch(*, message: Message) -> None:
    """Show the branch that leads through `message`, down to its latest leaf."""
    rows = message.conversation.messages.order_by("created_at", "id").values_list("parent_id", "id")
    children = dict(rows)  # the latest child of each parent
    leaf = message.id
    while leaf in children:
        leaf = children[leaf]
    Conversation.objects.filter(id=message.conversation_id).update(leaf=leaf, updated_at=timezone.now())


_FORKED = ("role", "status", "text", "parts", "attachments", "model", "finish_reason", "error", "created_at")


def fork_conversation(*, message: Message) -> Conversation:
    """Copy the branch up to `message` into a new conversation of the same settings, and return it.

    Both show the same files; they are deleted with the original conversation.
    """
    if message.status == Status.STREAMING:
        raise Refused(_("Stop the running answer first."))
    old = message.conversation
    fork = Conversation.objects.create(
        user=old.user,
        title=f"{old.title} (fork)"[:200],
        titled=True,
        model=old.model,
        assistant=old.assistant,
        system_prompt=old.system_prompt,
        options=old.options,
        folder=old.folder,
        updated_at=timezone.now(),
    )
    ids = selectors.path_ids(old.id, message.id)
    found = Message.objects.in_bulk(ids)
    copies: list[Message] = []
    for id_ in ids:
        one = found[id_]
        fields = {name: getattr(one, name) for name in _FORKED}
        copies.append(Message(conversation=fork, parent=copies[-1] if copies else None, **fields))
    Message.objects.bulk_create(copies, batch_size=500)
    change_conversation(conversation=fork, leaf=copies[-1])
    return fork


def delete_from(*, message: Message) -> None:
    """Delete a message and everything after it. Its parent becomes the end of the branch."""
    conversation = message.conversation
    if Generation.objects.filter(conversation=conversation, running=True).exists():
        raise Refused(_("Stop the running answer first."))
    conversation.leaf_id = message.parent_id
    conversation.updated_at = timezone.now()
    conversation.save(update_fields=["leaf", "updated_at"])
    message.delete()
    conversation.uploads.exclude(id__in=selectors.files_of(conversation)).delete()


def change_conversation(*, conversation: Conversation, **fields: Any) -> None:
    """Set plain fields of a conversation (model, system_prompt, options, pinned, archived, folder, share_token)."""
    for name, value in fields.items():
        setattr(conversation, name, value)
    conversation.save(update_fields=list(fields))


def choose_model(*, user: User, conversation: Conversation, model: str) -> None:
    """Use a model or an assistant for new conversations of the user, and for `conversation`, if it is stored, from the next question on."""
    assistants.choose(conversation, _model(model))
    user.chat_model = _model(model)
    user.save(update_fields=["chat_model"])
    chosen = {name: getattr(conversation, name) for name in assistants.CHOSEN}
    Conversation.objects.filter(pk=conversation.pk).update(**chosen)


def save_prompt(*, user: User, prompt: Prompt | None, name: str, text: str, shared: bool) -> Prompt:
    """Create a prompt in the user's library, or change one."""
    prompt = prompt or Prompt(user=user)
    prompt.name, prompt.text, prompt.shared = name, text, shared
    prompt.save()
    return prompt


def delete_prompt(*, prompt: Prompt) -> None:
    """Delete a prompt."""
    prompt.delete()


def move_to_folder(*, conversation: Conversation, folder: str) -> None:
    """Move a conversation into the folder with this name; an empty name removes it from its folder."""
    change_conversation(conversation=conversation, folder=_folder_name(folder))


def rename_folder(*, user: User, name: str, to: str) -> None:
    """Rename a folder. An existing folder with the new name absorbs its conversations."""
    if to := _folder_name(to):
        Conversation.objects.filter(user=user, folder=_folder_name(name)).exclude(folder="").update(folder=to)


def delete_folder(*, user: User, name: str) -> None:
    """Remove all conversations from a folder, which deletes it."""
    Conversation.objects.filter(user=user, folder=_folder_name(name)).update(folder="")


def _folder_name(text: str) -> str:
    return " ".join(text.replace("\x00", "").split())[:100].strip()
