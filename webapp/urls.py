"""Route the pages. /v1 never reaches this router: see webapp/asgi.py."""

from django.conf import settings
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("webapp.accounts.urls")),
    path("", include("webapp.server.urls")),
    path("chat/", include("chat.urls")),
    path("batches/", include("batches.urls")),
    path("search/", include("search.urls")),
    path("", include("webapp.backends.urls")),
    path("", include("webapp.gateway.urls")),
    path("", include("webapp.toolservers.urls")),
    path("admin/", admin.site.urls),
]
if settings.OIDC_ISSUER:
    from webapp.accounts import oidc  # the optional extra

    urlpatterns += [path("accounts/sso/oidc/<str:provider_id>/login/", oidc.login), path("accounts/sso/", include("allauth.urls"))]

handler400 = "webapp.server.views.bad_request"
handler403 = "webapp.server.views.forbidden"
handler404 = "webapp.server.views.not_found"
handler500 = "webapp.server.views.server_error"
