"""LlamaIndex's integration of Ollama."""

import contextlib

import conversation
import ollama
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.ollama import OllamaEmbedding
from llama_index.llms.ollama import Ollama


def model(name: str, tokens: int) -> Ollama:
    """A client of one model, whose context length it asks the server for."""
    return Ollama(
        model=name,
        base_url=conversation.URL,
        temperature=0,
        context_window=-1,
        request_timeout=120,
        additional_kwargs={"num_predict": tokens, "num_ctx": 4096},
    )


chat = model(conversation.CHAT_MODEL, conversation.TOKENS)
free = model(conversation.CHAT_MODEL, conversation.ENDLESS_TOKENS)
question = [ChatMessage(content=conversation.QUESTION)]
found: dict[str, object] = {"context": chat.get_context_window()}

whole = chat.chat(question)
found["chat"] = whole.message.content
found["usage"] = whole.raw["usage"]["completion_tokens"]
found["stream"] = "".join(piece.delta or "" for piece in chat.stream_chat(question))
found["complete"] = chat.complete(conversation.QUESTION).text

tool = FunctionTool.from_defaults(conversation.get_weather)
answered = free.chat_with_tools([tool], user_msg=conversation.WEATHER)
(call,) = free.get_tool_calls_from_response(answered)
found["tool"] = {"name": call.tool_name, "arguments": call.tool_kwargs}
found["structured"] = free.structured_predict(
    conversation.Choice, PromptTemplate(conversation.QUESTION)
).colour

embeddings = OllamaEmbedding(conversation.EMBEDDING_MODEL, base_url=conversation.URL)
vectors = embeddings.get_text_embedding_batch(conversation.TEXTS)
found["embed"] = [len(vector) for vector in vectors]

try:
    model(conversation.ABSENT, 1).chat(question)
except ollama.ResponseError as error:
    found["error"] = {"text": str(error), "status": error.status_code}

with contextlib.closing(free.stream_chat([ChatMessage(content=conversation.STORY)])) as stream:
    found["cancelled after"] = next(stream).delta
found["after cancel"] = chat.chat(question).message.content
conversation.report(found)
