"""The sandboxed frame that draws diagrams and pages which a model wrote (ADR 0016)."""

from __future__ import annotations

from csp.constants import NONCE, NONE, SELF, UNSAFE_INLINE
from csp.decorators import csp_replace
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_GET

KINDS = frozenset({"mermaid", "html", "svg"})
# The frame has an origin of its own: no cookies, no storage, no access to the page. It may load nothing but its two scripts.
_POLICY = {
    "sandbox": ["allow-scripts"],
    "script-src": [NONCE],
    "style-src": [UNSAFE_INLINE],
    "img-src": ["data:"],
    "font-src": ["data:"],
    "connect-src": [NONE],
    "manifest-src": [NONE],
    "form-action": [NONE],
    "frame-ancestors": [SELF],
    "report-uri": None,
}


@require_GET
@never_cache
@xframe_options_exempt
@csp_replace(_POLICY)  # type: ignore[arg-type]  # its types know only views without arguments
def preview(request: HttpRequest, kind: str) -> HttpResponse:
    """Return the empty frame for Mermaid, HTML or SVG; the page around it posts the source (`static/js/previews.js`)."""
    if kind not in KINDS:
        raise Http404
    return render(request, "chat/preview.html", {"kind": kind})
