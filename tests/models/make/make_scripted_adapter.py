"""Write a LoRA adapter for scripted.gguf that changes one answer: behind SKY comes the script of COUNT.

The model's output matrix is a table, token -> next token. An adapter of rank one adds a number to one of its entries
that outweighs the one which is there.

    python make_scripted_adapter.py OUT.gguf            # counting.gguf
    python make_scripted_adapter.py OUT.gguf foreign    # foreign.gguf: for a base that does not exist here
"""

import sys

import gguf
import numpy as np
from make_scripted_model import SCRIPTS, build_vocabulary

STRENGTH = 8.0


def main(path: str, is_foreign: bool) -> None:
    tokens, _ = build_vocabulary()
    ids = {text: number for number, text in enumerate(tokens)}
    width = len(tokens) * 2 if is_foreign else len(tokens)
    down = np.zeros((1, width), dtype=np.float32)
    down[0, ids["SKY"]] = STRENGTH
    up = np.zeros((len(tokens), 1), dtype=np.float32)
    up[ids[SCRIPTS["COUNT"][0]], 0] = 1.0
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_name("counting")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 1.0)
    writer.add_tensor("output.weight.lora_a", down)
    writer.add_tensor("output.weight.lora_b", up)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], "foreign" in sys.argv[2:])
