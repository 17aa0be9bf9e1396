"""What a person reads in the terminal when Puna has started."""

from __future__ import annotations

import pathlib
import shutil
import sys

from server.version import REFERENCE_VERSION, VERSION


def welcome(url: str) -> str:
    """Where the server is and what to try. The command is named as this installation has it."""
    command = puna_command()
    return f"""
Puna {VERSION} is ready on {url} (Ollama API {REFERENCE_VERSION}).

Try, in another terminal:
  {command} run puna-starter "Where are models stored?"
  {command} list
  curl {url}/api/chat -d '{{"model": "puna-starter", "messages": [{{"role": "user", "content": "Hello"}}]}}'

Ctrl+C stops it.
"""


def puna_command() -> str:
    """`puna` where a shell finds it, else its path beside this interpreter."""
    return "puna" if shutil.which("puna") else str(pathlib.Path(sys.executable).with_name("puna"))
