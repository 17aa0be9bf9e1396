"""From a model's text to content, thinking and tool calls, while it is written."""

from server.parsers.base import AnswerParser, Parsed

__all__ = ["AnswerParser", "Parsed"]
