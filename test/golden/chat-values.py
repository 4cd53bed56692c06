"""Renders drawn tool definitions with jinja2, set up as transformers does: chat-values.py TEMPLATE > chat-values.json

TEMPLATE is the chat_template.jinja beside a model. Needs jinja2 (made with 3.1.6). The tools are kept as JSON text, because
how a number is written is what the test is about.

Does not: import anything of belay.
"""
import json
import random
import sys

from jinja2.sandbox import ImmutableSandboxedEnvironment

environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
environment.globals["strftime_now"] = lambda form: "2026-11-23"
with open(sys.argv[1], encoding="utf8") as file:
    template = environment.from_string(file.read())
draw = random.Random(11)
numbers = [0, 1, -3, 2**53, 2**53 + 1, -(10**30), 0.0, -0.0, 1.0, -2.0, 0.5, 1.5e-5, 1e-7, 1e15, 1e16, 123456789.0, 1e21, 1e22]
numbers += [0.1 + 0.2, 1e-4, 9.999e-5, 5e-324, 1.7976931348623157e308, 4503599627370497.5]
texts = ["", "celsius", 'a "quoted" <b>', "ü 漢字 🙂", "line\nend\ttab", "back\\slash", "\u0001\u007f\u2028", "None", "1.0"]


def value(depth=0):
    kind = draw.randrange(6 if depth < 2 else 4)
    if kind == 0:
        return draw.choice(numbers)
    if kind == 1:
        return draw.choice(texts)
    if kind == 2:
        return draw.choice([None, True, False])
    if kind == 3:
        return draw.uniform(-1, 1) * 10.0 ** draw.randrange(-12, 25)
    if kind == 4:
        return [value(depth + 1) for _ in range(draw.randrange(3))]
    return {name: value(depth + 1) for name in draw.sample(["k", "key two", "ü"], draw.randrange(3))}


def parameter(depth=0):
    kinds = ["string", "number", "integer", "boolean", "array", "object", None]
    schema = {"type": draw.choice(kinds), "description": draw.choice(["", "what it is"])}
    if draw.random() < 0.5:
        schema["enum"] = [value(2) for _ in range(draw.randrange(1, 4))]
    if draw.random() < 0.7:
        schema["default"] = value()
    if draw.random() < 0.2:
        schema["nullable"] = draw.choice([True, False])
    if draw.random() < 0.2 and depth < 2:
        schema = {"oneOf": [parameter(depth + 1), parameter(depth + 1)], "description": "either", "default": value()}
    elif schema["type"] == "array" and depth < 2:
        schema["items"] = parameter(depth + 1)
    elif schema["type"] == "object" and depth < 2:
        schema["properties"] = {"inner": parameter(depth + 1), "other": parameter(depth + 1)}
    return schema


cases = []
for _ in range(150):
    names = ["a", "items", "b-c"][: draw.randrange(1, 4)]
    properties = {name: parameter() for name in names}
    tools = [{"name": "f", "description": "d", "parameters": {"properties": properties, "required": names[:1]}}]
    messages = [{"role": "user", "content": "x"}]
    cases.append({"tools": json.dumps(tools), "rendered": template.render(messages=messages, tools=tools)})
json.dump({"date": "2026-11-23", "cases": cases}, sys.stdout, ensure_ascii=False, indent=1)
print()
