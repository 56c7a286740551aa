"""Websocket addresses of the chat."""

from django.urls import URLPattern

websocket_urlpatterns: list[URLPattern] = []
