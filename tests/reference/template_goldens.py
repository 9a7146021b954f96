"""Renders every template in core/src/template/testdata with Python's Jinja2 and writes tests/golden/template/*.json.

The environment is the one of Hugging Face's apply_chat_template (transformers.utils.chat_template_utils): immutable
sandbox, trim_blocks, lstrip_blocks, loop controls, the {% generation %} tag, raise_exception, strftime_now and a
tojson that escapes nothing for HTML. The templates are the public ones of the models that the files are named for
(tokenizer_config.json of the instruct model on its model card); features.jinja and tools-*.jinja are our own.

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

WEATHER = {
    "name": "weather",
    "description": "The weather \"today\" in a <city>.",
    "parameters": json.dumps({
        "type": "object",
        "properties": {"city": {"type": "string", "enum": ["Rome", "Łódź"]}, "days": {"type": "integer", "maximum": 7}},
        "required": ["city"],
    }),
}
CLOCK = {"name": "clock", "description": "Now.", "parameters": "{}"}


def call(name, **arguments):
    return {"name": name, "arguments": json.dumps(arguments)}


def said(thinking, content, *calls):
    message = {"role": "assistant", "content": content}
    if thinking is not None:
        message["thinking"] = thinking
    if calls:
        message["tool_calls"] = list(calls)
    return message


ROME = call("weather", city="Rome", days=2, exact=[True, None, 1.5, {"deep": "\n"}])
# Tools, enable_thinking, messages: with tools, calls and thoughts as halfpi's messages have them.
WITH_TOOLS = [
    ([WEATHER], None, turns(("user", "Weather?"))),
    ([WEATHER, CLOCK], None, turns(("system", "Be brief."), ("user", "Weather?"))),
    ([WEATHER, CLOCK], None, [*turns(("user", "Weather?")), said(None, "", ROME), *turns(("tool", "{\"sky\": \"blue\"}"))]),
    ([WEATHER, CLOCK], None,
     [*turns(("user", "Weather?")), said(None, "I look.", ROME, call("clock")), *turns(("tool", "blue"), ("tool", "12:00")),
      *turns(("assistant", "Blue at noon."), ("user", "Thanks"))]),
    ([], False, turns(("user", "Hello"))),
    ([], True, turns(("user", "Hello"))),
    ([], None, [*turns(("user", "Hello")), said("They greet.", "Hi!"), *turns(("user", "And?"))]),
    ([CLOCK], True, [*turns(("user", "Time?")), said("A clock\nhelps.", "", call("clock")), *turns(("tool", "12:00"))]),
]


def as_transformers(messages):
    """Messages as apply_chat_template takes them; calls are numbered, results belong to them in order."""
    called, waiting, result = 0, [], []
    for message in messages:
        message = dict(message)
        if "thinking" in message:
            message["reasoning_content"] = message.pop("thinking")
        if "tool_calls" in message:
            calls, waiting = message.pop("tool_calls"), []
            message["tool_calls"] = []
            for function in calls:
                called += 1
                function = {"name": function["name"], "arguments": json.loads(function["arguments"])}
                message["tool_calls"].append({"id": f"call{called:05}", "type": "function", "function": function})
                waiting.append((f"call{called:05}", function["name"]))
        if message["role"] == "tool" and waiting:
            message["tool_call_id"], message["name"] = waiting.pop(0)
        result.append(message)
    return result


def as_function(tool):
    return {"type": "function", "function": {**tool, "parameters": json.loads(tool["parameters"])}}


def render(template, messages, add_generation_prompt, tools=(), thinking=None):
    case = {"messages": messages, "add_generation_prompt": add_generation_prompt}
    if tools:
        case["tools"] = tools
    switches = {}
    if thinking is not None:
        case["thinking"] = switches["enable_thinking"] = thinking
    try:
        case["text"] = template.render(
            messages=as_transformers(messages), add_generation_prompt=add_generation_prompt, bos_token=BOS,
            eos_token=EOS, tools=[as_function(tool) for tool in tools] or None, documents=None, **switches,
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
        cases += [render(template, messages, True, tools, thinking) for tools, thinking, messages in WITH_TOOLS]
        golden = {"template": path.name, "bos_token": BOS, "eos_token": EOS, "now": NOW, "cases": cases}
        text = json.dumps(golden, ensure_ascii=False, indent=1)
        (GOLDENS / f"{path.stem}.json").write_text(text + "\n", encoding="utf-8")
        kinds = [kind for case in cases for kind in ("text", "refused", "failed") if kind in case]
        print(path.name, {kind: kinds.count(kind) for kind in sorted(set(kinds))})


if __name__ == "__main__":
    main()
