"""LangChain's integration of Ollama."""

import contextlib

import conversation
import ollama
from langchain_ollama import ChatOllama, OllamaEmbeddings, OllamaLLM

# It looks the model up in the list of models at once.
settings = {"base_url": conversation.URL, "temperature": 0, "validate_model_on_init": True}
name = conversation.CHAT_MODEL
chat = ChatOllama(model=name, num_predict=conversation.TOKENS, **settings)
free = ChatOllama(model=name, num_predict=conversation.ENDLESS_TOKENS, **settings)
plain = OllamaLLM(model=name, num_predict=conversation.TOKENS, **settings)
found: dict[str, object] = {}

whole = chat.invoke(conversation.QUESTION)
found["chat"] = whole.content
found["usage"] = whole.usage_metadata["output_tokens"]
found["stream"] = "".join(piece.content for piece in chat.stream(conversation.QUESTION))
found["generate"] = plain.invoke(conversation.QUESTION)

called = free.bind_tools([conversation.get_weather]).invoke(conversation.WEATHER)
(call,) = called.tool_calls
found["tool"] = {"name": call["name"], "arguments": call["args"]}
chooser = free.with_structured_output(conversation.Choice)
found["structured"] = chooser.invoke(conversation.QUESTION).colour

embeddings = OllamaEmbeddings(model=conversation.EMBEDDING_MODEL, base_url=conversation.URL)
found["embed"] = [len(vector) for vector in embeddings.embed_documents(conversation.TEXTS)]

try:
    ChatOllama(model=conversation.ABSENT, base_url=conversation.URL).invoke(conversation.QUESTION)
except ollama.ResponseError as error:
    found["error"] = {"text": str(error), "status": error.status_code}

with contextlib.closing(free.stream(conversation.STORY)) as stream:
    found["cancelled after"] = next(stream).content
found["after cancel"] = chat.invoke(conversation.QUESTION).content
conversation.report(found)
