"""Runs before the program (a runtime hook of PyInstaller). The loader put our folder into LD_LIBRARY_PATH, has read it,
and needs it no longer; an editor or a file manager that we start would load our libraries instead of its own. Runners
are started as the program itself is: the loader of each finds the folder anew."""

import os

for name in [name for name in os.environ if name.startswith("_PYI_")]:
    del os.environ[name]
before = os.environ.pop("LD_LIBRARY_PATH_ORIG", None)
if before is None:
    os.environ.pop("LD_LIBRARY_PATH", None)
else:
    os.environ["LD_LIBRARY_PATH"] = before
