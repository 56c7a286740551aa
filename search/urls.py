"""Route the pages of search."""

from django.urls import path

from search.views import library, pages

app_name = "search"
urlpatterns = [
    path("", pages.search, name="search"),
    path("export/", pages.export, name="export"),
    path("ask/", pages.ask, name="ask"),
    path("collections/", library.collections, name="collections"),
    path("collections/<int:pk>/", library.collection, name="collection"),
    path("collections/<int:pk>/documents/", library.documents, name="documents"),
    path("collections/<int:pk>/upload/", library.upload, name="upload"),
    path("collections/<int:pk>/paste/", library.paste, name="paste"),
    path("collections/<int:pk>/delete/", library.delete_collection, name="delete-collection"),
    path("collections/<int:pk>/model/", library.change_model, name="change-model"),
    path("collections/<int:pk>/indexes/<int:index_id>/", library.change_index, name="change-index"),
    path("collections/<int:pk>/indexes/<int:index_id>/compare/", pages.compare, name="compare"),
    path("collections/<int:pk>/map/", library.collection_map, name="map"),
    path("documents/<uuid:pk>/", library.document, name="document"),
    path("documents/<uuid:pk>/original/", library.original, name="original"),
    path("documents/<uuid:pk>/change/", library.change_document, name="change-document"),
]
