"""Addresses of chat."""

from django.urls import path

from chat import views

app_name = "chat"
urlpatterns = [
    path("", views.new, name="new"),
    path("<uuid:conversation_id>/", views.conversation, name="conversation"),
    path("<uuid:conversation_id>/before/<uuid:before>/", views.earlier, name="earlier"),
    path("<uuid:conversation_id>/rename/", views.rename, name="rename"),
    path("<uuid:conversation_id>/delete/", views.delete, name="delete"),
    path("messages/<uuid:message_id>/branch/", views.branch, name="branch"),
    path("messages/<uuid:message_id>/delete/", views.delete_from, name="delete-from"),
    path("messages/<uuid:message_id>/markdown/", views.markdown, name="markdown"),
    path("messages/<uuid:message_id>/curl/<int:number>/", views.curl, name="curl"),
]
