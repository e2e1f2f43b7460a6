"""LiteLLM, through all three APIs that it can reach the server by."""

import json
import os

import conversation

# It takes prices from the web otherwise.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
import litellm

litellm.suppress_debug_info = True  # it would be on standard output
litellm.num_retries = 0
openai = {"api_base": f"{conversation.URL}/v1", "api_key": "none"}
anthropic = {"api_base": conversation.URL, "api_key": "none"}
ollama = {"api_base": conversation.URL}
APIS = {"ollama_chat": ollama, "ollama": ollama, "openai": openai, "anthropic": anthropic}


def ask(api: str, text: str, *, tokens: int, model: str = conversation.CHAT_MODEL, **more: object):
    """A completion by one of the APIs."""
    return litellm.completion(
        model=f"{api}/{model}",
        messages=[{"role": "user", "content": text}],
        max_tokens=tokens,
        temperature=0,
        **APIS[api],
        **more,
    )


def streamed(api: str) -> str:
    """The text of a short answer in pieces."""
    pieces = ask(api, conversation.QUESTION, tokens=conversation.TOKENS, stream=True)
    return "".join(piece.choices[0].delta.content or "" for piece in pieces)


SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
FUNCTION = {"name": "get_weather", "description": "Get the weather.", "parameters": SCHEMA}
TOOLS = [{"type": "function", "function": FUNCTION}]
found: dict[str, object] = {}

found["list"] = litellm.get_valid_models(
    check_provider_endpoint=True,
    custom_llm_provider="openai",
    api_key="none",
    api_base=openai["api_base"],
)
shown = litellm.get_model_info(f"ollama/{conversation.CHAT_MODEL}", api_base=conversation.URL)
found["show"] = {name: shown[name] for name in ("supports_function_calling", "max_tokens")}

answers = {api: ask(api, conversation.QUESTION, tokens=conversation.TOKENS) for api in APIS}
texts = {api: answer.choices[0].message.content for api, answer in answers.items()}
found["chat"] = texts["ollama_chat"]
found["usage"] = answers["ollama_chat"].usage.completion_tokens
found["by api"] = texts
found["stream"] = streamed("ollama_chat")
found["streams by api"] = {api: streamed(api) for api in APIS}

calls = {}
for api in ("ollama_chat", "openai", "anthropic"):
    # It does not hand a choice of tools on to Ollama's API.
    choice = {} if api == "ollama_chat" else {"tool_choice": "required"}
    answer = ask(api, conversation.WEATHER, tokens=40, tools=TOOLS, **choice)
    call = answer.choices[0].message.tool_calls[0]
    calls[api] = {"name": call.function.name, "arguments": call.function.arguments}
found["tools by api"] = calls
found["tool"] = calls["ollama_chat"] | {"arguments": json.loads(calls["ollama_chat"]["arguments"])}
bound = ask("ollama_chat", conversation.QUESTION, tokens=60, response_format=conversation.Choice)
found["structured"] = conversation.Choice.model_validate_json(
    bound.choices[0].message.content
).colour

vectors = litellm.embedding(f"ollama/{conversation.EMBEDDING_MODEL}", conversation.TEXTS, **ollama)
found["embed"] = [len(item["embedding"]) for item in vectors.data]

try:
    ask("openai", conversation.QUESTION, tokens=1, model=conversation.ABSENT)
except litellm.NotFoundError as error:
    found["error"] = {"text": str(error), "status": error.status_code}

pieces = ask("openai", conversation.STORY, tokens=conversation.ENDLESS_TOKENS, stream=True)
found["cancelled after"] = next(p.choices[0].delta.content for p in pieces)
pieces.completion_stream.close()
after = ask("openai", conversation.QUESTION, tokens=conversation.TOKENS)
found["after cancel"] = after.choices[0].message.content
conversation.report(found)
