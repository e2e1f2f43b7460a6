"""Simon Willison's `llm` with its plugin of Ollama, as its library."""

import os
import tempfile

import conversation

os.environ["OLLAMA_HOST"] = conversation.URL
os.environ["LLM_USER_PATH"] = tempfile.mkdtemp()
import llm
import ollama

server = ollama.Client(conversation.URL)
server.create(conversation.ABSENT, from_=conversation.CHAT_MODEL, system="Be brief.")
# It knows the models that the server lists, by what the server says that they can do.
found: dict[str, object] = {
    "list": sorted(model.model_id for model in llm.get_models()),
    "embedding models": sorted(model.model_id for model in llm.get_embedding_models()),
}
gone = llm.get_model(f"ollama/{conversation.ABSENT}")
server.delete(conversation.ABSENT)
model = llm.get_model(f"ollama/{conversation.CHAT_MODEL}")
short = {"temperature": 0, "num_predict": conversation.TOKENS}
whole = model.prompt(conversation.QUESTION, stream=False, **short)
found["chat"] = whole.text()
found["usage"] = whole.usage().output
found["stream"] = "".join(model.prompt(conversation.QUESTION, **short))

bounded = {"temperature": 0, "num_predict": 40}
called = model.prompt(
    conversation.WEATHER, tools=[conversation.get_weather], stream=False, **bounded
)
call = called.tool_calls()[0]
found["tool"] = {"name": call.name, "arguments": call.arguments}
chosen = model.prompt(conversation.QUESTION, schema=conversation.Choice, **bounded).text()
found["structured"] = conversation.Choice.model_validate_json(chosen).colour

embedding = llm.get_embedding_model(f"ollama/{conversation.EMBEDDING_MODEL}")
found["embed"] = [len(vector) for vector in embedding.embed_multi(conversation.TEXTS)]

try:
    gone.prompt(conversation.QUESTION, num_predict=1).text()
except ollama.ResponseError as error:
    found["error"] = {"text": str(error), "status": error.status_code}

stream = iter(model.prompt(conversation.STORY, num_predict=conversation.ENDLESS_TOKENS))
found["cancelled after"] = next(stream)
stream.close()
found["after cancel"] = model.prompt(conversation.QUESTION, **short).text()
conversation.report(found)
