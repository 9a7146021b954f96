#!/usr/bin/env python3
"""Writes tests/golden/scripted/tool-caller.gguf: a model that always says the same, for tests of tools and thoughts.

Nobody can make a random model call a tool, and small trained ones do it when they like. This one is a transformer like
any other whose layer adds nothing, so that the next token depends on the last one alone: the head's row of each word
is the embedding of the word that comes before it. Where its template ends decides what it says. With tools and a question
it thinks and calls one; otherwise, after the results too, it answers. Needs: pip install numpy gguf
"""

import gguf
import numpy as np
from pathlib import Path

OUT = Path(__file__).resolve().parent.parent / "golden" / "scripted" / "tool-caller.gguf"
HIDDEN, HEADS, HEAD_DIM, FFN, CONTEXT = 64, 2, 32, 32, 2048

CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|ask|>", "<|tell|>"]
TAGS = ["<think>", "</think>", "<tool_call>", "</tool_call>"]
SCRIPTS = [
    ["<|ask|>", "<think>", "That", " I must", " look", " up.", "</think>", "<tool_call>", '{"name": "weather", ']
    + ['"arguments": ', '{"city": ', '"Rome"}}', "</tool_call>", "<|im_end|>"],
    ["<|tell|>", "Sunny", " in", " Rome,", " 24 °C.", "<|im_end|>"],
]
TEMPLATE = """\
{%- if tools %}<|im_start|>system
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}<|im_end|>
{% endif %}
{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.reasoning_content %}<think>{{ message.reasoning_content }}</think>{% endif %}{{ message.content }}
{%- for call in message.tool_calls or [] %}<tool_call>{{ call.function | tojson }}</tool_call>{% endfor %}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% if tools and messages[-1].role != 'tool' %}<|ask|>
{%- if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}
{%- else %}<|tell|>{% endif %}{% endif %}"""


def byte_letters():
    """GPT-2's letters for bytes: those that can be seen stand for themselves, the others are numbered from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return {byte: chr(byte if byte in seen else 256 + unseen.index(byte)) for byte in range(256)}


def main():
    letters = byte_letters()
    special = CONTROL + TAGS
    words = sorted({word for script in SCRIPTS for word in script} - set(special))
    tokens = special + list(letters.values())
    tokens += ["".join(letters[byte] for byte in word.encode()) for word in words]
    kinds = [gguf.TokenType.CONTROL] * len(CONTROL) + [gguf.TokenType.USER_DEFINED] * len(TAGS)
    kinds += [gguf.TokenType.NORMAL] * (len(tokens) - len(kinds))
    ids = {text: id for id, text in enumerate(special)} | {word: 256 + len(special) + i for i, word in enumerate(words)}

    rng = np.random.default_rng(0)
    embedding = rng.normal(0, 0.1, (len(tokens), HIDDEN))
    # The words of the scripts are at right angles, so that one never sounds like another.
    axes, _ = np.linalg.qr(rng.normal(size=(HIDDEN, HIDDEN)))
    for axis, id in enumerate(ids.values()):
        embedding[id] = axes[axis]
    head = np.zeros_like(embedding)
    for script in SCRIPTS:
        for word, following in zip(script, script[1:]):
            head[ids[following]] += 8 * embedding[ids[word]]

    OUT.parent.mkdir(parents=True, exist_ok=True)
    writer = gguf.GGUFWriter(OUT, "llama")
    writer.add_name("halfpi test tool-caller")
    writer.add_block_count(1)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_vocab_size(len(tokens))
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([])
    writer.add_eos_token_id(CONTROL.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)

    def tensor(name, values):
        kind = np.float16 if values.ndim == 2 else np.float32
        writer.add_tensor(f"{name}.weight", values.astype(kind))

    width = HEADS * HEAD_DIM
    tensor("token_embd", embedding)
    tensor("blk.0.attn_norm", np.ones(HIDDEN))
    for name, shape in [("attn_q", (width, HIDDEN)), ("attn_k", (width, HIDDEN)), ("attn_v", (width, HIDDEN))]:
        tensor(f"blk.0.{name}", np.zeros(shape))
    tensor("blk.0.attn_output", np.zeros((HIDDEN, width)))
    tensor("blk.0.ffn_norm", np.ones(HIDDEN))
    for name, shape in [("ffn_gate", (FFN, HIDDEN)), ("ffn_up", (FFN, HIDDEN)), ("ffn_down", (HIDDEN, FFN))]:
        tensor(f"blk.0.{name}", np.zeros(shape))
    tensor("output_norm", np.ones(HIDDEN))
    tensor("output", head)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(f"{OUT}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
