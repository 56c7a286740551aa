"""The tokens page. The API itself is no Django view: see asgi.py."""

from django.urls import path

from webapp.gateway import views

app_name = "gateway"
urlpatterns = [
    path("accounts/tokens/", views.tokens, name="tokens"),
    path("accounts/tokens/<int:pk>/revoke/", views.revoke, name="revoke"),
]
