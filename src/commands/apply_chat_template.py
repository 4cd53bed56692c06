"""Conversations by transformers, from the files beside a model: apply_chat_template.py FOLDER DATE < cases.json

Cases are an array of {messages, tools?, enable_thinking?, add_generation_prompt?}; answers are an array of {text, ids} or
{error}. A second reader for chat-render.test.ts.

Does not: import anything of belay.
"""
import datetime
import json
import sys

from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

folder, date = sys.argv[1:]


class Fixed(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromisoformat(date)


chat_template_utils.datetime = Fixed
tokenizer = AutoTokenizer.from_pretrained(folder)
answers = []
for case in json.load(sys.stdin):
    settings = {
        "tools": case.get("tools"),
        "enable_thinking": case.get("enable_thinking", False),
        "add_generation_prompt": case.get("add_generation_prompt", False),
    }
    try:
        text = tokenizer.apply_chat_template(case["messages"], tokenize=False, **settings)
        ids = tokenizer.apply_chat_template(case["messages"], tokenize=True, return_dict=False, **settings)
        answers.append({"text": text, "ids": ids})
    except Exception as error:
        answers.append({"error": str(error)})
print(json.dumps(answers))
