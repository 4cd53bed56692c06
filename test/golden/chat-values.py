"""Renders drawn requests with jinja2, set up as transformers does: chat-values.py OURS PUBLISHED > chat-values.json

OURS is the chat_template.jinja beside a model, PUBLISHED is src/templates/chat_template.jinja of swiss-ai/apertus_format
(e473d76). What is kept is what PUBLISHED renders, and OURS must render the same; where PUBLISHED raises and OURS does not, what
OURS renders is kept. Needs jinja2 (made with 3.1.6). Requests are kept as JSON text, because how a number is written and the
order of keys are what the test is about.

Does not: import anything of belay. Does not draw lists and objects among the choices of a text: PUBLISHED writes them in
Python's notation, OURS as JSON.
"""
import json
import random
import sys

from jinja2.sandbox import ImmutableSandboxedEnvironment


def refuse(message):
    raise ValueError(message)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
environment.globals["strftime_now"] = lambda form: "2026-11-23"
environment.globals["raise_exception"] = refuse


def template(path):
    with open(path, encoding="utf8") as file:
        return environment.from_string(file.read())


ours, published = template(sys.argv[1]), template(sys.argv[2])
draw = random.Random(11)
numbers = [0, 1, -3, 2**53, 2**53 + 1, -(10**30), 0.0, -0.0, 1.0, -2.0, 0.5, 1.5e-5, 1e-7, 1e15, 1e16, 123456789.0, 1e21, 1e22]
numbers += [0.1 + 0.2, 1e-4, 9.999e-5, 5e-324, 1.7976931348623157e308, 4503599627370497.5]
texts = ["", "celsius", 'a "quoted" <b>', "ü 漢字 🙂", "line\nend\ttab", "back\\slash", "\u0001\u007f\u2028", "None", "1.0"]
names = ["a", "items", "b-c", "key two", "ü", "10", "9", "0", "-1", "__proto__", "length"]


def maybe(share):
    return draw.random() < share


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
    return {name: value(depth + 1) for name in draw.sample(names, draw.randrange(4))}


def schemas(depth, least=0):
    return {name: schema(depth) for name in draw.sample(names, draw.randrange(least, 4))}


def schema(depth=0):
    kinds = ["string", "string", "number", "integer", "boolean", "array", "object", "null", None]
    kinds += [["string", "null"], ["object"], ["object", "object"], []]
    drawn = {"type": draw.choice(kinds)}
    if maybe(0.1):
        del drawn["type"]
    if maybe(0.5):
        drawn["description"] = draw.choice(["", "what it is"])
    if maybe(0.4):
        drawn["enum"] = [value(2) for _ in range(draw.randrange(4))]
    if maybe(0.6):
        drawn["default"] = draw.choice([value(), draw.choice(texts)])
    if maybe(0.2):
        drawn["nullable"] = draw.choice([True, False])
    if depth < 2:
        if maybe(0.2):
            drawn["oneOf"] = [schema(depth + 1) for _ in range(draw.randrange(3))]
        if maybe(0.4):
            drawn["items"] = draw.choice([schema(depth + 1), {}])
        if maybe(0.4):
            drawn["properties"] = schemas(depth + 1)
            drawn["required"] = draw.sample(names, 3)
    return drawn


def tool():
    drawn = {"name": "f", "description": draw.choice(texts)}
    if maybe(0.9):
        drawn["parameters"] = {"type": "object", "properties": schemas(0, 1), "required": draw.sample(names, 2)}
    return {"type": "function", "function": drawn} if maybe(0.1) else drawn


def short_tool():
    """Element types about as long as those that are spelled out."""
    names = [draw.choice(["n", "🙂", "ü"]) * draw.randrange(1, 9) for _ in range(2)]
    inner = {name: {"oneOf": [{"type": "number", "default": draw.choice(numbers)}]} for name in names[: draw.randrange(1, 3)]}
    items = draw.choice([{"type": "object", "properties": inner}, {"oneOf": list(inner.values())}])
    return {"name": "f", "description": "d", "parameters": {"properties": {"a": {"type": "array", "items": items}}}}


def block():
    kind = draw.choice(["thoughts", "tool_calls", "tool_outputs", "response"])
    if kind == "tool_calls":
        calls = [{"name": draw.choice(["f", "display_answers"]), "arguments": "{}"} for _ in range(draw.randrange(1, 3))]
        return {"type": kind, "calls": calls}
    if kind == "tool_outputs":
        return {"type": kind, "outputs": [{"output": draw.choice(texts)} for _ in range(draw.randrange(3))]}
    return {"type": kind, "text": draw.choice(texts)}


def conversation():
    drawn = []
    if maybe(0.4):
        drawn.append({"role": "system", "content": draw.choice([draw.choice(texts), {"text": draw.choice(texts)}])})
    structured = maybe(0.7)
    for _ in range(draw.randrange(7)):
        role = draw.choice(["user", "assistant", "assistant", "tool"])
        content = draw.choice(texts)
        if role == "user" and maybe(0.5):
            content = {"parts": [{"type": "text", "text": draw.choice(texts)} for _ in range(draw.randrange(3))]}
        if role == "assistant" and structured:
            content = {"blocks": [block() for _ in range(draw.randrange(4))]}
        message = {"role": role, "content": content}
        if role == "assistant" and maybe(0.2):
            call = {"type": "function", "function": {"name": "g", "arguments": "{}"}}
            message["tool_calls"] = [call for _ in range(draw.randrange(3))]
        drawn.append(message)
    return drawn


def rendered(by, request):
    try:
        return by.render(bos_token="<s>", **request)
    except Exception:
        return None


def cases(count, request):
    kept = []
    while len(kept) < count:
        drawn = request()
        original, text = rendered(published, drawn), rendered(ours, drawn)
        if text is None and original is None:
            continue
        if original is not None and original != text:
            sys.exit(f"rendered differently: {json.dumps(drawn)}\n{original!r}\n{text!r}")
        kept.append({"request": json.dumps(drawn), "published": original is not None, "rendered": text})
    return kept


question = [{"role": "user", "content": "x"}]
kept = cases(120, lambda: {"messages": question, "tools": [tool() for _ in range(draw.randrange(1, 3))]})
kept += cases(80, lambda: {"messages": conversation()})
kept += cases(40, lambda: {"messages": [{"role": "system", "content": ""}], "tools": [short_tool()]})
json.dump({"date": "2026-11-23", "cases": kept}, sys.stdout, ensure_ascii=False, indent=1)
print()
