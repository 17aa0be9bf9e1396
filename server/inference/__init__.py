"""One request, from the model's name to the last chunk: the use case that every dialect shares."""

from server.inference.answer import Inference
from server.inference.catalog import Catalog, Entry
from server.inference.filling import Filling, Gap, OtherFile
from server.inference.fitting import Fitting
from server.inference.lending import loaded_as
from server.inference.tokens import Tokenizer

__all__ = ["Catalog", "Entry", "Filling", "Fitting", "Gap", "Inference", "OtherFile", "Tokenizer", "loaded_as"]
