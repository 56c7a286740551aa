"""Addresses of batches."""

from django.urls import URLPattern

app_name = "batches"
urlpatterns: list[URLPattern] = []
