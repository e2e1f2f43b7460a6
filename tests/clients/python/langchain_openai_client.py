"""LangChain's integration of OpenAI, both of its APIs."""

import contextlib

import conversation
import openai
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

server = {"base_url": f"{conversation.URL}/v1", "api_key": "none", "max_retries": 0}
settings = {"model": conversation.CHAT_MODEL, "temperature": 0, **server}
chat = ChatOpenAI(max_tokens=conversation.TOKENS, **settings)
free = ChatOpenAI(max_tokens=conversation.ENDLESS_TOKENS, **settings)
responses = ChatOpenAI(max_tokens=conversation.TOKENS, use_responses_api=True, **settings)
found: dict[str, object] = {}

whole = chat.invoke(conversation.QUESTION)
found["chat"] = whole.content
found["usage"] = whole.usage_metadata["output_tokens"]
found["stream"] = "".join(piece.content for piece in chat.stream(conversation.QUESTION))
found["responses"] = responses.invoke(conversation.QUESTION).text
found["responses stream"] = "".join(p.text for p in responses.stream(conversation.QUESTION))

tools = free.bind_tools(
    [conversation.get_weather], tool_choice="required", parallel_tool_calls=False
)
(call,) = tools.invoke(conversation.WEATHER).tool_calls
found["tool"] = {"name": call["name"], "arguments": call["args"]}
found["structured"] = (
    free.with_structured_output(conversation.Choice).invoke(conversation.QUESTION).colour
)

# Unless told not to, it counts tokens as OpenAI's models have them, with files from the web.
embeddings = OpenAIEmbeddings(
    model=conversation.EMBEDDING_MODEL, check_embedding_ctx_length=False, **server
)
found["embed"] = [len(vector) for vector in embeddings.embed_documents(conversation.TEXTS)]

try:
    ChatOpenAI(**settings | {"model": conversation.ABSENT}).invoke(conversation.QUESTION)
except openai.NotFoundError as error:
    found["error"] = {"text": str(error), "status": error.status_code}

with contextlib.closing(free.stream(conversation.STORY)) as stream:
    found["cancelled after"] = next(piece.content for piece in stream if piece.content)
found["after cancel"] = chat.invoke(conversation.QUESTION).content
conversation.report(found)
