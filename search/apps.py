"""The search app."""

from django.apps import AppConfig


class SearchConfig(AppConfig):
    """Configure the search app."""

    name = "search"
    label = "search"

    def ready(self) -> None:
        """Register the signals, the tools, the ingestion worker and the ports."""
        from search import signals, tool, worker
        from search.conversation_documents import Attached
        from search.file_search import CollectionSearch
        from search.readable_documents import ReadableDocuments
        from search.text_collections import collect
        from search.vector_stores import api, source_files
        from webapp.core import background
        from webapp.ports import conversation_documents, documents, file_search, files_and_batches, text_collections, vector_stores
        from webapp.ports.toolbox import toolbox

        signals.connect()
        background.register("search", worker.service)
        toolbox.tool(untrusted=True)(tool.search_documents)
        conversation_documents.register(Attached())
        text_collections.register(collect)
        documents.register(ReadableDocuments())
        file_search.register(CollectionSearch())
        vector_stores.register(api.HANDLERS)
        files_and_batches.on_file_deletion(source_files.remove_documents)
