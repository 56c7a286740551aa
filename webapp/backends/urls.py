"""Addresses of the live status and usage pages."""

from django.urls import URLPattern

app_name = "backends"
urlpatterns: list[URLPattern] = []
