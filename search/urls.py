"""Route the pages of search."""

from django.urls import path

from search.views import answers, documents, library, pages, saved, sources

app_name = "search"
urlpatterns = [
    path("", pages.search, name="search"),
    path("export/", pages.export, name="export"),
    path("ask/", pages.ask, name="ask"),
    path("answer/", answers.answer, name="answer"),
    path("answer/settings/", answers.change_settings, name="answer-settings"),
    path("saved/", saved.saved_searches, name="saved"),
    path("saved/<int:pk>/", saved.change_saved, name="change-saved"),
    path("collections/", library.collections, name="collections"),
    path("collections/<int:pk>/", library.collection, name="collection"),
    path("collections/<int:pk>/documents/", documents.documents, name="documents"),
    path("collections/<int:pk>/documents/change/", documents.change_documents, name="change-documents"),
    path("collections/<int:pk>/uploads/<int:upload_id>/", documents.change_upload, name="change-upload"),
    path("collections/<int:pk>/upload/", documents.upload, name="upload"),
    path("collections/<int:pk>/paste/", documents.paste, name="paste"),
    path("collections/<int:pk>/delete/", library.delete_collection, name="delete-collection"),
    path("collections/<int:pk>/model/", library.change_model, name="change-model"),
    path("collections/<int:pk>/indexes/<int:index_id>/", library.change_index, name="change-index"),
    path("collections/<int:pk>/indexes/<int:index_id>/compare/", pages.compare, name="compare"),
    path("collections/<int:pk>/sources/", sources.sources, name="sources"),
    path("collections/<int:pk>/sources/<int:source_id>/", sources.change_source, name="change-source"),
    path("collections/<int:pk>/map/", library.collection_map, name="map"),
    path("documents/<uuid:pk>/", documents.document, name="document"),
    path("documents/<uuid:pk>/pages/<int:number>.png", documents.page_picture, name="page-picture"),
    path("documents/<uuid:pk>/original/", documents.original, name="original"),
    path("documents/<uuid:pk>/change/", documents.change_document, name="change-document"),
]
