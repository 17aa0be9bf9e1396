"""`python -m server.engine`: a runner, or one of its small errands.

    (nothing)        serve one model over standard input and output
    try-cpu LIBRARY  multiply a small matrix with a CPU library; the exit status tells whether that went well
    devices          print the devices that ggml reports, as JSON
    quantize SOURCE TARGET TYPE [--tensor PATTERN TYPE]...
                     write a model file anew with other number formats

`--cache DIR`: where to remember which CPU library runs here.
"""

from __future__ import annotations

import sys

from server.engine.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
