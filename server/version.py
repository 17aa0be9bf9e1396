"""Our version, and the version of Ollama whose API we speak; clients switch features on the latter."""

VERSION = "0.1.0"
REFERENCE_VERSION = "0.33.0"
USER_AGENT = f"puna/{VERSION}"
