"""Accept and return files for questions."""

from __future__ import annotations

from uuid import UUID

from django.http import FileResponse, Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.views.decorators.http import require_GET, require_POST

from chat import uploads
from chat.models import Upload
from chat.views.common import owned, who


@require_POST
@owned
def upload(request: HttpRequest) -> HttpResponse:
    """Accept files in the composer: return a chip for each, or the reason why it cannot be used."""
    chips: list[dict[str, object]] = []
    for file in request.FILES.getlist("file")[:10]:
        try:
            kept = uploads.keep(user=who(request), file=file)
            chips.append({"upload": kept, "searched": uploads.entry(kept)["kind"] == "document"})
        except uploads.Unusable as problem:
            chips.append({"name": file.name, "problem": str(problem)})
    return render(request, "chat/_chips.html", {"chips": chips})


@require_GET
@owned
def download(request: HttpRequest, upload_id: UUID) -> HttpResponseBase:
    """Return a file of the user. Only images are displayed; other files are downloaded."""
    found = _upload(request, upload_id)
    if not uploads.kept_path(found.id).exists():
        raise Http404("There is no such file.")
    inline = found.type.startswith("image/")
    return FileResponse(uploads.kept_path(found.id).open("rb"), content_type=found.type, as_attachment=not inline, filename=found.name)


@require_POST
@owned
def remove(request: HttpRequest, upload_id: UUID) -> HttpResponse:
    """Remove a file from the composer. A file that was already sent stays with its conversation."""
    uploads.discard(upload=_upload(request, upload_id))
    return HttpResponse()


def _upload(request: HttpRequest, upload_id: UUID) -> Upload:
    found = Upload.objects.filter(id=upload_id, user=who(request)).first()
    if found is None:
        raise Http404("There is no such file.")
    return found
