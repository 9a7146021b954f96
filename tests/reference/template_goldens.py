"""Renders every template in core/src/template/testdata with Python's Jinja2 and writes tests/golden/template/*.json.

The environment is the one of Hugging Face's apply_chat_template (transformers.utils.chat_template_utils): immutable
sandbox, trim_blocks, lstrip_blocks, loop controls, the {% generation %} tag, raise_exception, strftime_now and a
tojson that escapes nothing for HTML. The templates are the public ones of the models that the files are named for
(tokenizer_config.json of the instruct model on its model card); features.jinja is our own.

Needs: pip install jinja2==3.1.6
Run:   python tests/reference/template_goldens.py
"""

import datetime
import json
import pathlib

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "core/src/template/testdata"
GOLDENS = ROOT / "tests/golden/template"
NOW = 1738584000  # 2025-02-03 12:00 UTC
BOS, EOS = "<s>", "</s>"


class Generation(Extension):
    """{% generation %} … {% endgeneration %}: marks text for training, changes nothing in it."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(["name:endgeneration"], drop_needle=True)


class Refused(Exception):
    pass


def raise_exception(message):
    raise Refused(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(format):
    return datetime.datetime.fromtimestamp(NOW, datetime.timezone.utc).strftime(format)


def environment():
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = strftime_now
    return env


def turns(*pairs):
    return [{"role": role, "content": content} for role, content in pairs]


CONVERSATIONS = [
    [],
    turns(("user", "Hello")),
    turns(("system", "You are terse."), ("user", "What is 2+2?")),
    turns(("user", "Hi"), ("assistant", "Hello!"), ("user", "Who are you?")),
    turns(("system", "Be kind.\n"), ("user", " Hi \n"), ("assistant", "\n Hello! "), ("user", "Bye"),
          ("assistant", "Bye.")),
    turns(("user", "one"), ("user", "two")),
    turns(("assistant", "I begin."), ("user", "Go on.")),
    turns(("user", "Weather?"), ("assistant", "{\"call\": \"weather\"}"), ("tool", "{\"sky\": \"blue\"}"),
          ("assistant", "Blue."), ("user", "Thanks, stop")),
    turns(("user", "Think."), ("assistant", "<think>\nhm, </s> \n</think>\n\nDone."), ("user", "Again"),
          ("assistant", "<think>x</think>y")),
    turns(("system", ""), ("user", "")),
    turns(("user", "{{ 7 * 7 }} {% raw %} <|im_end|> \"quoted\" \\ \t <b>&amp;</b>")),
    turns(("user", "Zażółć gęślą jaźń 👩‍👩‍👧‍👦 שלום e\u0301 \u0000\u001f\u2028 日本語"), ("assistant", "✓"), ("user", "ﬁn")),
]


def render(template, messages, add_generation_prompt):
    case = {"messages": messages, "add_generation_prompt": add_generation_prompt}
    try:
        case["text"] = template.render(
            messages=messages, add_generation_prompt=add_generation_prompt, bos_token=BOS, eos_token=EOS, tools=None,
            documents=None,
        )
    except Refused as refused:
        case["refused"] = str(refused)
    except jinja2.UndefinedError:
        case["failed"] = True
    return case


def main():
    GOLDENS.mkdir(parents=True, exist_ok=True)
    env = environment()
    for path in sorted(TEMPLATES.glob("*.jinja")):
        template = env.from_string(path.read_text(encoding="utf-8"))
        cases = [render(template, messages, flag) for messages in CONVERSATIONS for flag in (False, True)]
        golden = {"template": path.name, "bos_token": BOS, "eos_token": EOS, "now": NOW, "cases": cases}
        text = json.dumps(golden, ensure_ascii=False, indent=1)
        (GOLDENS / f"{path.stem}.json").write_text(text + "\n", encoding="utf-8")
        kinds = [kind for case in cases for kind in ("text", "refused", "failed") if kind in case]
        print(path.name, {kind: kinds.count(kind) for kind in sorted(set(kinds))})


if __name__ == "__main__":
    main()
