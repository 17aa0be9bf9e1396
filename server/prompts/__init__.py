"""From a chat to a prompt: which template, which messages, which text."""
