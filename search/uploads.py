"""Follow files that a user adds at once: how many arrived, were read, or failed. A browser sends many files in portions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Count, F
from django.utils import timezone

from search import services
from search.models import Collection, Document, Upload
from webapp.patterns.errors import InputError

SHOWN = 3
MAX_REFUSED = 1000
MAX_NAMED = 5
"""Names of existing files that an upload keeps. Beyond that it has the number."""
MAX_ANNOUNCED = 100_000
SENDING_SECONDS = 60
"""Seconds without another portion after which the page says that files are missing."""
FINISHED_SHOWN = timedelta(hours=1)
State = Document.State


@dataclass(frozen=True, slots=True)
class Received:
    """The outcome of one portion. `existing` and `refused` name files; a refused one comes with the reason."""

    upload: Upload
    existing: list[str] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)


def start_upload(*, collection: Collection, announced: int) -> Upload:
    """Begin an upload of so many files."""
    return Upload.objects.create(collection=collection, announced=max(1, min(announced, MAX_ANNOUNCED)))


def receive_files(*, upload: Upload, files: Sequence[tuple[str, Iterable[bytes]]]) -> Received:
    """Store a portion of the files, each a name and its content, and count them."""
    outcome = Received(upload)
    for name, content in files:
        try:
            added = services.add_file(collection=upload.collection, name=name, content=content, upload=upload)
        except InputError as error:
            outcome.refused.append((services.clean_name(name), error.message))
        else:
            outcome.existing.extend([added.document.name] if added.existed else [])
    _count(upload, outcome, len(files))
    return outcome


def _count(upload: Upload, outcome: Received, number: int) -> None:
    with transaction.atomic():
        locked = Upload.objects.select_for_update().get(pk=upload.pk)
        locked.refused = [*locked.refused, *({"name": name, "why": why} for name, why in outcome.refused)][:MAX_REFUSED]
        locked.existing = [*locked.existing, *outcome.existing][:MAX_NAMED]
        locked.existed += len(outcome.existing)
        locked.received += number
        locked.announced = max(locked.announced, locked.received)
        locked.active_at = timezone.now()
        locked.save(update_fields=["refused", "existing", "existed", "received", "announced", "active_at"])


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of an upload, for the page.

    Attributes:
        read: files whose text is stored, files that existed before included.
        failed: files that were refused or could not be read.
        under_way: stored files that are still to be read.
        missing: files that the browser announced and did not send.
        sending: whether more files may still arrive.
    """

    upload: Upload
    read: int
    failed: int
    under_way: int
    missing: int
    sending: bool

    @property
    def total(self) -> int:
        """Return the number of files, those that did not arrive included."""
        return self.upload.announced

    @property
    def done(self) -> int:
        """Return the number of files that are read or failed."""
        return self.read + self.failed

    @property
    def summary(self) -> str:
        """Return the state of the upload in words: "84 of 300 read, 2 failed"."""
        return f"{self.read:,} of {self.total:,} read" + (f", {self.failed:,} failed" if self.failed else "")

    @property
    def existing(self) -> str:
        """Return the names of the first files that existed before, and the number of the others."""
        more = self.upload.existed - len(self.upload.existing)
        return ", ".join(self.upload.existing) + (f" and {more:,} more" if more else "")

    @property
    def active(self) -> bool:
        """Return whether the numbers may still change."""
        return self.sending or self.under_way > 0


def progress(collection: Collection) -> list[Progress]:
    """Return the latest uploads that are unfinished, had failures, or finished within FINISHED_SHOWN; newest first."""
    latest = list(collection.uploads.filter(dismissed=False)[:SHOWN])
    counted: dict[int, dict[str, int]] = {upload.pk: {} for upload in latest}
    rows: Iterable[Any] = Document.objects.filter(upload__in=latest).values_list("upload", "state").annotate(number=Count("pk")).order_by()
    for upload, state, number in rows:
        counted[upload][state] = number
    found = [_progress(upload, counted[upload.pk]) for upload in latest]
    recent = timezone.now() - FINISHED_SHOWN
    return [each for each in found if each.active or each.failed or each.missing or each.upload.active_at > recent]


def _progress(upload: Upload, states: dict[str, int]) -> Progress:
    missing = upload.announced - upload.received
    waited = timezone.now() - upload.active_at
    sending = missing > 0 and waited < timedelta(seconds=SENDING_SECONDS)
    return Progress(
        upload,
        read=states.get(State.READY, 0) + upload.existed,
        failed=states.get(State.FAILED, 0) + len(upload.refused),
        under_way=sum(states.get(state, 0) for state in Document.UNDER_WAY),
        missing=0 if sending else missing,
        sending=sending,
    )


def dismiss_upload(*, upload: Upload) -> None:
    """Hide an upload from the page. Its documents stay."""
    Upload.objects.filter(pk=upload.pk).update(dismissed=True)


def retry_upload(*, upload: Upload) -> None:
    """Queue the failed documents of an upload again, and forget the files that were refused."""
    failed = Document.objects.filter(upload=upload, state=State.FAILED)
    services.retry_documents(documents=failed)
    Upload.objects.filter(pk=upload.pk).update(refused=[], announced=F("announced") - len(upload.refused))
