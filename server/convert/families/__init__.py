"""The families that can be converted, one small file each: which architectures it is for, and what it makes of a
config. A new family is a new file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from server.convert.config import Config
from server.convert.families import bert, gemma, gemma2, gemma3, llama, mistral, nomic_bert, phi3, qwen2, qwen3
from server.convert.plan import Outline, Row
from server.errors import InvalidRequest

_FAMILIES = (llama, mistral, qwen2, qwen3, gemma2, gemma3, phi3, bert, nomic_bert)
OUTLINES: dict[str, Callable[[Config], Outline]] = {
    architecture: family.outline for family in _FAMILIES for architecture in family.ARCHITECTURES
}
# By GGUF's names: what adapters may change.
ROWS_BY_ARCHITECTURE: dict[str, tuple[Row, ...]] = {
    "llama": llama.ROWS,
    "qwen2": qwen2.ROWS,
    "qwen3": qwen3.ROWS,
    "gemma2": gemma.ROWS,
    "gemma3": gemma3.ROWS,
    "phi3": phi3.ROWS,
}


def outline_of(config: Config) -> Outline:
    """Raises InvalidRequest, also for an architecture that is in no family."""
    architecture = config.architecture
    if architecture not in OUTLINES:
        raise InvalidRequest(
            f'unsupported architecture "{architecture[:80]}"; those that can be converted are '
            f"{', '.join(sorted(OUTLINES))}. Others need a GGUF build of the model"
        )
    return OUTLINES[architecture](config)
