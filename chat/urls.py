"""Route the pages of the chat."""

from django.urls import path

from chat.views import analysis, conversations, folders, imports, messages, pages, palette, previews, prompts, uploads

app_name = "chat"
urlpatterns = [
    path("", pages.new, name="new"),
    path("<uuid:conversation_id>/", pages.conversation, name="conversation"),
    path("<uuid:conversation_id>/before/<uuid:before>/", pages.earlier, name="earlier"),
    path("<uuid:conversation_id>/send/", conversations.send, name="send"),
    path("<uuid:conversation_id>/rename/", conversations.rename, name="rename"),
    path("<uuid:conversation_id>/analysis/", analysis.panel, name="analysis"),
    path("<uuid:conversation_id>/move/", folders.move, name="move"),
    path("folders/rename/", folders.rename, name="folder-rename"),
    path("folders/delete/", folders.delete, name="folder-delete"),
    path("<uuid:conversation_id>/delete/", conversations.delete, name="delete"),
    path("<uuid:conversation_id>/settings/", conversations.settings, name="settings"),
    path("<uuid:conversation_id>/meter/", conversations.meter, name="meter"),
    path("<uuid:conversation_id>/overflow/", conversations.overflow, name="overflow"),
    path("<uuid:conversation_id>/pin/", conversations.mark, {"what": "pinned"}, name="pin"),
    path("<uuid:conversation_id>/archive/", conversations.mark, {"what": "archived"}, name="archive"),
    path("<uuid:conversation_id>/share/", conversations.mark, {"what": "share"}, name="share"),
    path("<uuid:conversation_id>/export.md", conversations.export, {"form": "md"}, name="export-markdown"),
    path("<uuid:conversation_id>/export.json", conversations.export, {"form": "json"}, name="export-json"),
    path("import/", imports.import_file, name="import"),
    path("palette/", palette.commands, name="palette"),
    path("slash/", prompts.slash, name="slash"),
    path("prompts/", prompts.library, name="prompts"),
    path("prompts/<uuid:prompt_id>/", prompts.library, name="prompt"),
    path("prompts/<uuid:prompt_id>/use/", prompts.use, name="prompt-use"),
    path("prompts/<uuid:prompt_id>/delete/", prompts.delete, name="prompt-delete"),
    path("find/", conversations.find, name="find"),
    path("shared/<str:token>/", conversations.shared, name="shared"),
    path("preview/<str:kind>/", previews.preview, name="preview"),
    path("files/", uploads.upload, name="upload"),
    path("files/<uuid:upload_id>/", uploads.download, name="file"),
    path("files/<uuid:upload_id>/remove/", uploads.remove, name="file-remove"),
    path("messages/<uuid:message_id>/", messages.article, name="message"),
    path("messages/<uuid:message_id>/edit/", messages.edit, name="edit"),
    path("messages/<uuid:message_id>/branch/", messages.branch, name="branch"),
    path("messages/<uuid:message_id>/pick/", messages.pick, name="pick"),
    path("messages/<uuid:message_id>/delete/", messages.delete_from, name="delete-from"),
    path("messages/<uuid:message_id>/markdown/", messages.markdown, name="markdown"),
    path("messages/<uuid:message_id>/curl/<int:number>/", messages.curl, name="curl"),
]
