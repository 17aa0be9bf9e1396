"""One request, from the model's name to the last chunk: the use case that every dialect shares."""

from server.inference.answer import Inference
from server.inference.cards import Card, card_of
from server.inference.catalog import Catalog, Entry
from server.inference.figures import FIRST_TOKEN_SECONDS, ModelFigures, Writing
from server.inference.filling import Filling, Gap, OtherFile
from server.inference.fitting import Fitting
from server.inference.lending import loaded_as
from server.inference.reranking import Reranking, RerankRequest, RerankResult
from server.inference.tokens import Tokenizer

__all__ = [
    "FIRST_TOKEN_SECONDS",
    "Card",
    "Catalog",
    "Entry",
    "Filling",
    "Fitting",
    "Gap",
    "Inference",
    "ModelFigures",
    "OtherFile",
    "RerankRequest",
    "RerankResult",
    "Reranking",
    "Tokenizer",
    "Writing",
    "card_of",
    "loaded_as",
]
