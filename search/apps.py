from django.apps import AppConfig


class SearchConfig(AppConfig):
    name = "search"
    label = "search"

    def ready(self) -> None:
        from django.db.models.signals import pre_delete

        from search import services, tool, worker
        from search.attached import Attached
        from search.collected import collect
        from search.models import Collection
        from webapp import background
        from webapp.backends import attached, collected
        from webapp.backends.toolbox import toolbox

        background.register("search", worker.service)
        toolbox.tool(tool.search_documents)
        attached.register(Attached())
        collected.register(collect)
        pre_delete.connect(services.forget_collection, sender=Collection)
