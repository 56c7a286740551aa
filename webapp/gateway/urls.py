"""Route the pages of the gateway: tokens and stored responses. The API itself is not a Django view; see asgi.py."""

from django.urls import path

from webapp.gateway import views
from webapp.gateway.responses import pages

app_name = "gateway"
urlpatterns = [
    path("accounts/tokens/", views.tokens, name="tokens"),
    path("accounts/tokens/<int:pk>/revoke/", views.revoke, name="revoke"),
    path("responses/", pages.index, name="responses"),
    path("responses/<str:name>/", pages.detail, name="response"),
    path("responses/<str:name>/chat/", pages.open_as_chat, name="response-chat"),
    path("responses/<str:name>/cancel/", pages.cancel, name="response-cancel"),
    path("responses/<str:name>/delete/", pages.delete, name="response-delete"),
]
