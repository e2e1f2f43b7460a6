"""Instructor: answers as objects, through each way that it asks for them."""

import conversation
import instructor
import openai
from instructor.core.exceptions import InstructorRetryException
from pydantic import BaseModel

server = openai.OpenAI(base_url=f"{conversation.URL}/v1", api_key="none", max_retries=0)
request = {
    "model": conversation.TRAINED_MODEL,
    "messages": [{"role": "user", "content": conversation.QUESTION}],
    "response_model": conversation.Choice,
    "temperature": 0,
    "max_tokens": 60,
    "max_retries": 1,
}
MODES = (instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA)
found: dict[str, object] = {"by mode": {}}
for mode in MODES:
    client = instructor.from_openai(server, mode=mode)
    found["by mode"][mode.name] = client.create(**request).colour
found["structured"] = found["by mode"]["JSON_SCHEMA"]
strict = instructor.from_openai(server, mode=instructor.Mode.JSON_SCHEMA)
*_, last = strict.create_partial(**request)
found["structured stream"] = last.colour
named = instructor.from_provider(
    f"ollama/{conversation.TRAINED_MODEL}", base_url=f"{conversation.URL}/v1"
)
found["by provider"] = named.create(**{k: v for k, v in request.items() if k != "model"}).colour
try:
    strict.create(**request | {"model": conversation.ABSENT})
except InstructorRetryException as error:
    found["error"] = {"text": str(error), "status": error.__cause__.status_code}


class Story(BaseModel):
    """A story, for which no end is set."""

    title: str
    text: str


endless = {
    "messages": [{"role": "user", "content": conversation.STORY}],
    "response_model": Story,
    "max_tokens": conversation.ENDLESS_TOKENS,
}
# It takes a stream in to its end before it gives of it: what it can do is to wait no longer.
try:
    strict.create(**request | endless, timeout=1)
except InstructorRetryException as error:
    found["cancelled with"] = type(error.__cause__).__name__
found["after cancel"] = strict.create(**request).colour
conversation.report(found)
