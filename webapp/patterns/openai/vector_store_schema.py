"""Rules for the bodies of requests to `/v1/vector_stores`, with OpenAI's limits. Fields that are not named here pass as they came."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from webapp.patterns.openai.attribute_filters import FilterRule
from webapp.patterns.openai.json_rules import (
    Array,
    Boolean,
    Choice,
    Discriminated,
    Integer,
    Map,
    Nullable,
    Number,
    Object,
    OneOf,
    Rule,
    String,
)
from webapp.patterns.openai.request_schema import METADATA

MAX_STORE_FILES: Final = 500
"""Files that a request to create a store may name."""
MAX_BATCH_FILES: Final = 2000
MAX_RESULTS: Final = 50

ATTRIBUTES: Final = Nullable(Map(OneOf((Boolean(), Number(), String(most=512))), most=16, name_chars=64))
CHUNKING: Final = Nullable(
    Discriminated(
        "type",
        {
            "auto": Object(),
            "static": Object(
                {
                    "static": Object(
                        {"max_chunk_size_tokens": Integer(100, 4096), "chunk_overlap_tokens": Integer(0, 2048)},
                        required=("max_chunk_size_tokens", "chunk_overlap_tokens"),
                    )
                },
                required=("static",),
            ),
        },
    )
)
EXPIRES_AFTER: Final = Nullable(
    Object({"anchor": Choice(("last_active_at",)), "days": Integer(1, 365)}, required=("anchor", "days")),
)
FILE_ID: Final = String(least=1, most=200)
NAME: Final = Nullable(String(most=512))
_STORE: Final[Mapping[str, Rule]] = {
    "name": NAME,
    "description": Nullable(String(most=300)),
    "expires_after": EXPIRES_AFTER,
    "metadata": METADATA,
}

NEW_STORE: Final = Object(
    {
        **_STORE,
        "file_ids": Nullable(Array(FILE_ID, most=MAX_STORE_FILES)),
        "chunking_strategy": CHUNKING,
        "embedding_model": Nullable(String(least=1, most=300)),
    }
)
STORE_UPDATE: Final = Object(_STORE)
FILE: Final = Object({"file_id": FILE_ID, "attributes": ATTRIBUTES, "chunking_strategy": CHUNKING}, required=("file_id",))
FILE_UPDATE: Final = Object({"attributes": ATTRIBUTES}, required=("attributes",))
NEW_BATCH: Final = Object(
    {
        "file_ids": Nullable(Array(FILE_ID, least=1, most=MAX_BATCH_FILES)),
        "files": Nullable(Array(FILE, least=1, most=MAX_BATCH_FILES)),
        "attributes": ATTRIBUTES,
        "chunking_strategy": CHUNKING,
    }
)
RANKING: Final = Nullable(
    Object(
        {
            "ranker": Nullable(String()),
            "score_threshold": Nullable(Number(0, 1)),
            "hybrid_search": Nullable(Object({"embedding_weight": Number(0), "text_weight": Number(0)})),
        }
    )
)
SEARCH: Final = Object(
    {
        "query": OneOf((String(least=1), Array(String(least=1), least=1))),
        "filters": Nullable(FilterRule()),
        "max_num_results": Nullable(Integer(1, MAX_RESULTS)),
        "ranking_options": RANKING,
        "rewrite_query": Nullable(Boolean()),
    },
    required=("query",),
)
