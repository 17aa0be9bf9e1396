"""Write a small, real GGUF model whose answers are known in advance.

The network is a one-layer llama with one-hot embeddings, silent attention and
a silent feed-forward block, so its output matrix is a table: token -> next
token. The last token of the prompt therefore decides the whole answer, at any
temperature, on any backend, and llama.cpp runs it like any other model. Use it
where a test must know the text: tool calls, thinking, stop strings, characters
split over tokens, end-of-turn, log-probabilities.

    python make_scripted_model.py OUT.gguf          # scripted.gguf
    python make_scripted_model.py OUT.gguf bare     # bare.gguf: the same without a chat template

Tests that need other scripts call `main` with them, such as SEARCHES.

Say a trigger (a key of SCRIPTS) as the last words of the prompt to get its
script; anything else gets DEFAULT. The chat template repeats the last message
after the assistant mark so that triggers work in chats too.
"""

import itertools
import sys

import gguf
import numpy as np

END = "<|end|>"

# trigger -> the pieces of the answer, in order. A piece stands for one token,
# so every piece must be unique over all scripts.
SCRIPTS: dict[str, list[str]] = {
    "SKY": ["The sky", " is", " blue", " because", " of", " Rayleigh", " scattering."],
    "COUNT": ["one", ", two", ", three", ", four", ", five", ", six", ", seven", ", eight", ", nine", ", ten"],
    "JSON": ['{"name"', ': "Ada"', ', "age"', ": 36", ', "tags"', ': ["x"', ', "y"]}'],
    "BADJSON": ['{"broken"', ": tru"],
    "TOOL": [
        "<tool_",
        "call>\n",
        '{"name": "get_weather"',
        ', "arguments": {"city"',
        ': "Paris"',
        "}}",
        "\n</tool_call>",
    ],
    "TWOTOOLS": [
        "<tool",
        '_call>\n{"name": "add"',
        ', "arguments": {"a"',
        ": 2",
        ', "b"',
        ": 3}}",
        "\n</tool_call>\n",
        "<too",
        'l_call>\n{"name": "get_time"',
        ', "arguments": {}}',
        "\n</tool_",
        "call>",
    ],
    "TALKTOOL": [
        "Let me",
        " check.\n",
        "<to",
        'ol_call>\n{"name": "get_weather",',
        ' "arguments": {"city": "Oslo"}}',
        "\n</tool_call> ",
    ],
    "BROKENTOOL": ["<t", 'ool_call>\n{"name": "get_weather", "argu', 'ments": {'],
    "THINK": ["<think>", "\nThe user", " asks", " why.\n", "</think>", "\n\nIt", " scatters!"],
    "THINKTOOL": [
        "<think>\n",
        "I need",
        " the weather",
        "\n</think>",
        "\n\n<tool_c",
        'all>\n{"name":"get_weather","arguments":',
        '{"city":"Rome"}}',
        "</tool_call>\n",
    ],
    "EMOJI": ["Hi ", "<0xF0>", "<0x9F>", "<0xA6>", "<0x99>", " done"],
    "STOPPY": ["alpha", " beta", " ST", "OP", " gamma", " delta"],
    "LOOP": ["again", " and"],
    "EMPTY": [],
}
# A model that searches the web, as tests write it for themselves.
SEARCHES: dict[str, list[str]] = {
    "SKY": SCRIPTS["SKY"],
    "SEARCH": [
        "<tool_call>",
        '\n{"name": "web_search"',
        ', "arguments": {"query":',
        ' "capital of France"}}',
        "\n</tool_call>",
    ],
    "SAYSEARCH": [
        "<think>",
        "I do not know.\n",
        "</think>\n",
        "I will",
        " look.",
        '\n<tool_call>\n{"name": "web_search"',
        ', "arguments": {"query": "news"}}\n</tool_call>',
    ],
    "NOQUERY": ['<tool_call>\n{"name": "web_search"', ', "arguments": {"query": " "}}\n</tool_call>\n'],
    "BOTH": [
        '<tool_call>\n{"name": "web_search", "arguments"',
        ': {"query": "weather"}}\n</tool_call>\n<tool_call>',
        '\n{"name": "get_weather", "arguments":',
        ' {"city": "Paris"}}\n</tool_call>\n\n',
    ],
}
LOOPS = {"LOOP"}  # these return to their first piece instead of ending
DEFAULT = ["Hello", " there", ", how", " can", " I", " help?"]

CHAT_TEMPLATE = """\
{%- if tools %}{{ '<|system|>' }}Tools: {% for tool in tools %}{{ tool | tojson }}
{% endfor %}Answer with <tool_call>
{"name": ..., "arguments": ...}
</tool_call> to call one.{{ '<|end|>\n' }}{% endif %}
{%- for m in messages %}
{{- '<|' + m['role'] + '|>' }}{{ m['content'] or '' }}
{%- for call in m.get('tool_calls') or [] %}
{{- '\n<tool_call>\n{"name": "' + call['function']['name'] + '", "arguments": ' }}{{ call['function']['arguments'] if call['function']['arguments'] is string else call['function']['arguments'] | tojson }}{{ '}\n</tool_call>' }}
{%- endfor %}{{ '<|end|>\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% if enable_thinking is defined and not enable_thinking %}<think>

</think>

{% endif %}{{ messages[-1]['content'] }}{% endif %}"""


def build_vocabulary(scripts: dict[str, list[str]] = SCRIPTS) -> tuple[list[str], list[int]]:
    """Return token texts and their llama.cpp types; ids are positions."""
    kind = gguf.TokenType
    tokens = ["<unk>", "<s>", END]
    types = [kind.UNKNOWN, kind.CONTROL, kind.CONTROL]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    types += [kind.BYTE] * 256
    roles = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
    tokens += roles
    types += [kind.CONTROL] * len(roles)
    characters = ["\u2581"] + [chr(c) for c in range(33, 127)]
    tokens += characters
    types += [kind.NORMAL] * len(characters)
    known = set(tokens)
    for text in [*scripts, *(piece for script in [*scripts.values(), DEFAULT] for piece in script)]:
        if text.startswith("<0x"):
            continue
        if text in known:
            raise SystemExit(f"piece {text!r} is used twice")
        known.add(text)
        tokens.append(text)
        types.append(kind.USER_DEFINED)
    while len(tokens) % 256:
        tokens.append(f"<|unused{len(tokens)}|>")
        types.append(kind.UNUSED)
    return tokens, types


def next_token_table(tokens: list[str], scripts: dict[str, list[str]] = SCRIPTS) -> np.ndarray:
    """Return for each token id the id that follows it, shape [n_vocab]."""
    ids = {text: i for i, text in enumerate(tokens)}
    table = np.full(len(tokens), ids[DEFAULT[0]])

    def chain(pieces: list[str], last: int) -> None:
        for a, b in itertools.pairwise(pieces):
            table[ids[a]] = ids[b]
        table[ids[pieces[-1]]] = last

    chain(DEFAULT, ids[END])
    for trigger, pieces in scripts.items():
        table[ids[trigger]] = ids[pieces[0]] if pieces else ids[END]
        if pieces:
            chain(pieces, ids[pieces[0]] if trigger in LOOPS else ids[END])
    return table


def main(path: str, chat_template: str = CHAT_TEMPLATE, scripts: dict[str, list[str]] = SCRIPTS) -> None:
    tokens, types = build_vocabulary(scripts)
    n, d, ff = len(tokens), len(tokens), 32
    table = next_token_table(tokens, scripts)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("scripted")
    writer.add_context_length(8192)
    writer.add_embedding_length(d)
    writer.add_block_count(1)
    writer.add_feed_forward_length(ff)
    writer.add_head_count(d // 64)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(64)
    writer.add_vocab_size(n)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([t.encode() for t in tokens])
    writer.add_token_scores([-float(i) for i in range(n)])
    writer.add_token_types(types)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
    if chat_template:
        writer.add_chat_template(chat_template)

    one_hot = np.eye(n, dtype=np.float16)
    output = np.zeros((n, d), dtype=np.float16)
    output[table, np.arange(n)] = 1.0
    silent = lambda rows, cols: np.zeros((rows, cols), dtype=np.float16)  # noqa: E731
    tensors = {
        "token_embd.weight": one_hot,
        "output_norm.weight": np.ones(d, dtype=np.float32),
        "output.weight": output,
        "blk.0.attn_norm.weight": np.ones(d, dtype=np.float32),
        "blk.0.attn_q.weight": silent(d, d),
        "blk.0.attn_k.weight": silent(64, d),
        "blk.0.attn_v.weight": silent(64, d),
        "blk.0.attn_output.weight": silent(d, d),
        "blk.0.ffn_norm.weight": np.ones(d, dtype=np.float32),
        "blk.0.ffn_gate.weight": silent(ff, d),
        "blk.0.ffn_up.weight": silent(ff, d),
        "blk.0.ffn_down.weight": silent(d, ff),
    }
    for name, data in tensors.items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], "" if "bare" in sys.argv[2:] else CHAT_TEMPLATE)
