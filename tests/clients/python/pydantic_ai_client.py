"""Pydantic AI, whose provider of Ollama speaks OpenAI's API."""

import asyncio

import conversation
from pydantic_ai import Agent, Embedder, NativeOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ModelHTTPError
from pydantic_ai.models.ollama import OllamaModel
from pydantic_ai.providers.ollama import OllamaProvider
from pydantic_ai.settings import ModelSettings

provider = OllamaProvider(base_url=f"{conversation.URL}/v1")


def agent(tokens: int, model: str = conversation.CHAT_MODEL, **more: object) -> Agent:
    """An agent on one model."""
    return Agent(
        OllamaModel(model, provider=provider),
        model_settings=ModelSettings(temperature=0, max_tokens=tokens),
        **more,
    )


async def main() -> dict[str, object]:
    """All steps in one event loop, as programs that use it are made."""
    chat, free = agent(conversation.TOKENS), agent(conversation.ENDLESS_TOKENS)
    found: dict[str, object] = {}
    whole = await chat.run(conversation.QUESTION)
    found["chat"] = whole.output
    found["usage"] = whole.usage.output_tokens
    async with chat.run_stream(conversation.QUESTION) as result:
        pieces = [piece async for piece in result.stream_text(delta=True)]
    found["stream"] = "".join(pieces)

    # A function whose result is the answer: the model has to call it, the agent runs it.
    called: list[str] = []

    def get_weather(city: str) -> str:
        """Get the current weather of a city."""
        called.append(city)
        return conversation.get_weather(city)

    found["answer by a call"] = (
        await agent(60, output_type=get_weather).run(conversation.WEATHER)
    ).output
    found["tool"] = {"name": "get_weather", "arguments": {"city": called[-1]}}
    chooser = agent(60, output_type=NativeOutput(conversation.Choice))
    found["structured"] = (await chooser.run(conversation.QUESTION)).output.colour
    # Its other way: the answer is a call of a tool that it makes up and demands.
    caller = agent(60, output_type=conversation.Choice)
    found["structured by a call"] = (await caller.run(conversation.QUESTION)).output.colour

    embedder = Embedder(OpenAIEmbeddingModel(conversation.EMBEDDING_MODEL, provider=provider))
    vectors = (await embedder.embed_documents(conversation.TEXTS)).embeddings
    found["embed"] = [len(vector) for vector in vectors]

    try:
        await agent(1, conversation.ABSENT).run(conversation.QUESTION)
    except ModelHTTPError as error:
        found["error"] = {"text": str(error), "status": error.status_code}

    async with free.run_stream(conversation.STORY) as result:
        async for piece in result.stream_text(delta=True, debounce_by=None):
            found["cancelled after"] = piece
            break
        await result.cancel()
    found["after cancel"] = (await chat.run(conversation.QUESTION)).output
    return found


conversation.report(asyncio.run(main()))
