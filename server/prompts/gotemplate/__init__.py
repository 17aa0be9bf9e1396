"""Go's template language as Ollama's models use it, with Ollama's data and functions.

`parse(text)` reads a template once; the result renders chats and tells what it can do.
"""

from server.errors import InvalidTemplate
from server.prompts.gotemplate.template import GoTemplate, parse

__all__ = ["GoTemplate", "InvalidTemplate", "parse"]
