"""Addresses of chat."""

from django.urls import path

from chat.views import conversations, messages, pages

app_name = "chat"
urlpatterns = [
    path("", pages.new, name="new"),
    path("<uuid:conversation_id>/", pages.conversation, name="conversation"),
    path("<uuid:conversation_id>/before/<uuid:before>/", pages.earlier, name="earlier"),
    path("<uuid:conversation_id>/send/", conversations.send, name="send"),
    path("<uuid:conversation_id>/rename/", conversations.rename, name="rename"),
    path("<uuid:conversation_id>/delete/", conversations.delete, name="delete"),
    path("messages/<uuid:message_id>/branch/", messages.branch, name="branch"),
    path("messages/<uuid:message_id>/delete/", messages.delete_from, name="delete-from"),
    path("messages/<uuid:message_id>/markdown/", messages.markdown, name="markdown"),
    path("messages/<uuid:message_id>/curl/<int:number>/", messages.curl, name="curl"),
]
