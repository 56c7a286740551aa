"""Addresses of the pages of tool servers."""

from django.urls import path

from webapp.toolservers import views

app_name = "toolservers"
urlpatterns = [
    path("tools/", views.index, name="index"),
    path("tools/new/", views.new, name="new"),
    path("tools/oauth-client.json", views.client_metadata, name="client_metadata"),
    path("tools/callback/", views.callback, name="callback"),
    path("tools/<int:pk>/", views.detail, name="detail"),
    path("tools/<int:pk>/edit/", views.edit, name="edit"),
    path("tools/<int:pk>/check/", views.check, name="check"),
    path("tools/<int:pk>/delete/", views.delete, name="delete"),
    path("tools/<int:pk>/sign-in/", views.sign_in, name="sign_in"),
]
