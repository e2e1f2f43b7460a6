"""The template worker: a child process that no template brings down its parent with."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import psutil
import pytest

from olmkit.engine.chat.adapting import probe
from olmkit.engine.chat.conversation import Conversation, Message
from olmkit.engine.chat.templates.renderprocess import TemplateProcess
from olmkit.engine.chat.templates.renderprotocol import InsertGo, RenderGo, RenderJinja
from olmkit.engine.errors import InvalidRequest, TemplateFailed, TemplateTooSlow

pytestmark = pytest.mark.timeout(60)
"""An endless template would go on for longer."""

ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"


def jinja(template: str, **variables: object) -> RenderJinja:
    return RenderJinja(template=template, variables=variables)


def run(body: Callable[[TemplateProcess], Awaitable[None]], **options: Any) -> None:
    """Run `body` with a template process that is closed afterwards."""

    async def main() -> None:
        process = TemplateProcess(**options)
        try:
            await body(process)
        finally:
            await process.close()

    asyncio.run(main())


def children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if "olmkit.engine.chat.templates.renderworker" in child.cmdline()
    ]


async def refusal(process: TemplateProcess, template: str) -> str:
    with pytest.raises(TemplateFailed) as caught:
        await process.run(jinja(template))
    return str(caught.value)


def test_one_worker_serves_all_jobs() -> None:
    async def body(process: TemplateProcess) -> None:
        assert not children()
        texts = await asyncio.gather(*(process.run(jinja("{{ x }}", x=i)) for i in range(20)))
        assert texts == [str(i) for i in range(20)]
        assert len(children()) == 1

    run(body)
    assert not children()


def test_a_template_that_takes_too_long_fails_and_the_next_one_does_not() -> None:
    async def body(process: TemplateProcess) -> None:
        assert await refusal(process, ENDLESS) == "the chat template takes longer than 0.5 s"
        assert await process.run(jinja("fine")) == "fine"

    run(body, deadline_s=0.5)


@pytest.mark.parametrize(
    "template", ["{{ 'a' * 2000000000 }}", "{{ 'a' * n }}", "{% set x = ['a' * n] * n %}"]
)
def test_memory_is_bounded(template: str) -> None:
    async def body(process: TemplateProcess) -> None:
        with pytest.raises(TemplateFailed, match="takes too much memory"):
            await process.run(jinja(template, n=400_000_000))
        (worker,) = children()
        assert worker.memory_info().rss < 400 << 20
        assert await process.run(jinja("fine")) == "fine"

    run(body)


def test_a_worker_that_is_killed_fails_its_job_only() -> None:
    async def body(process: TemplateProcess) -> None:
        await process.run(jinja("warm"))
        job = asyncio.create_task(process.run(jinja(ENDLESS)))
        await asyncio.sleep(0.2)
        children()[0].kill()
        with pytest.raises(TemplateFailed, match="broke its worker"):
            await job
        assert await process.run(jinja("fine")) == "fine"

    run(body)


def test_a_job_that_is_cancelled_leaves_no_worker_behind() -> None:
    async def body(process: TemplateProcess) -> None:
        await process.run(jinja("warm"))
        job = asyncio.create_task(process.run(jinja(ENDLESS)))
        await asyncio.sleep(0.2)
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        assert not children()
        assert await process.run(jinja("fine")) == "fine"

    run(body)


def test_an_idle_worker_goes_and_comes_back() -> None:
    async def body(process: TemplateProcess) -> None:
        await process.run(jinja("a"))
        while children():
            await asyncio.sleep(0.05)
        assert await process.run(jinja("b")) == "b"

    run(body, idle_s=0.2)


def test_a_worker_whose_parent_is_gone_ends_itself() -> None:
    async def body(process: TemplateProcess) -> None:
        await process.run(jinja("warm"))
        (worker,) = children()
        job = asyncio.create_task(process.run(jinja(ENDLESS)))
        await asyncio.sleep(0.2)
        # Meanwhile this process does nothing at all: only the worker's own alarm can end it.
        worker.wait(10)
        with pytest.raises(TemplateFailed):
            await job

    run(body, deadline_s=1.0)


def test_a_looping_template_delays_its_own_model_alone() -> None:
    async def body(process: TemplateProcess) -> None:
        looping = [
            asyncio.create_task(process.run(jinja(ENDLESS), owner=f"bad{number % 2}"))
            for number in range(20)
        ]
        await asyncio.sleep(0.1)
        for _ in range(3):  # one worker starts, the same one goes on
            assert await process.run(jinja("fine"), owner="good") == "fine"
        assert sum(task.done() for task in looping) < 18
        assert len(children()) == 3
        for task in looping:
            task.cancel()
        await asyncio.gather(*looping, return_exceptions=True)

    run(body, deadline_s=1.0)


def test_where_all_workers_are_busy_who_used_least_goes_first() -> None:
    async def body(process: TemplateProcess) -> None:
        looping = [
            asyncio.create_task(process.run(jinja(ENDLESS), owner=f"bad{number}"))
            for number in range(4)
            for _ in range(10)
        ]
        await asyncio.sleep(1.2)  # all have used time by now
        assert await process.run(jinja("fine"), owner="good") == "fine"
        assert sum(task.done() for task in looping) <= 12
        for task in looping:
            task.cancel()
        await asyncio.gather(*looping, return_exceptions=True)

    run(body, deadline_s=1.0, max_workers=2)


def test_a_template_without_time_is_probed_once_and_not_called_strict() -> None:
    async def body(process: TemplateProcess) -> None:
        asked = []

        async def render(conversation: Conversation) -> str:
            asked.append(conversation)
            return await process.run(jinja(ENDLESS))

        with pytest.raises(TemplateTooSlow):
            await probe(render)
        assert len(asked) == 1

    run(body, deadline_s=0.1)


def test_text_that_is_none_is_refused() -> None:
    async def body(process: TemplateProcess) -> None:
        assert "what is no text" in await refusal(process, "{{ '\\ud800' }}")
        with pytest.raises(InvalidRequest):
            await process.run(jinja("{{ x }}", x=2**70))

    run(body)


def test_go_templates_run_in_the_worker_too() -> None:
    template = (
        "{{ range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}"
        "<|im_start|>assistant\n"
    )

    async def body(process: TemplateProcess) -> None:
        messages = (Message(role="system", content="Be brief."), Message(role="user", content="Hi"))
        assert await process.run(RenderGo(template=template, messages=messages)) == (
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
            "<|im_start|>assistant\n"
        )
        fim = "{{ if .Suffix }}<PRE> {{ .Prompt }} <SUF>{{ .Suffix }} <MID>{{ end }}"
        insert = InsertGo(template=fim, prompt="def add(", suffix="return x")
        assert await process.run(insert) == "<PRE> def add( <SUF>return x <MID>"
        found = await process.inspect(fim + "{{ .Tools }}")
        assert (found.insert, found.tools, found.thinking) == (True, True, False)
        with pytest.raises(TemplateFailed, match='function "x" not defined'):
            await process.inspect("{{ x }}")

    run(body)
