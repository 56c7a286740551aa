from django.apps import AppConfig


class SearchConfig(AppConfig):
    name = "search"
    label = "search"

    def ready(self) -> None:
        from search import signals, tool, worker
        from search.attached import Attached
        from search.collected import collect
        from webapp import background
        from webapp.backends import attached, collected
        from webapp.backends.toolbox import toolbox

        signals.connect()
        background.register("search", worker.service)
        toolbox.tool(tool.search_documents)
        attached.register(Attached())
        collected.register(collect)
