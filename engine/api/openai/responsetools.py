"""The tools of the Responses API, in which functions may lie in namespaces.

Source: https://platform.openai.com/docs/api-reference/responses/create#responses-create-tools
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from olmkit.engine.api.operations import replyheaders
from olmkit.engine.chat.conversation import Tool
from olmkit.engine.errors import InvalidRequest

_OFFERED_BY_THE_SERVER: Final = frozenset({"image_generation", "web_search", "web_search_preview"})
"""What agents offer in every request and OpenAI's servers carry out: nobody waits for a call."""


@dataclass(slots=True)
class ResponseTools:
    """The functions of a request as the model knows them, and as the client does."""

    functions: tuple[Tool, ...] = ()
    """Those in a namespace are named NAMESPACE.FUNCTION."""
    ignored: set[str] = field(default_factory=set)
    """Kinds of tools that were left out."""
    kept: list[Mapping[str, Any]] = field(default_factory=list)
    """The request's tools without those that were left out."""
    _namespaces: dict[str, tuple[str, str]] = field(default_factory=dict)

    @classmethod
    def parse(cls, given: Sequence[Mapping[str, Any]] | None) -> "ResponseTools":
        """The tools of a request.

        Raises:
            InvalidRequest: a tool is malformed, or of a kind that only OpenAI's servers have.
        """
        tools = cls()
        for tool in given or ():
            match kind := tool.get("type") or "function":
                case "function":
                    tools._add(tool, tool.get("name"))
                case "namespace":
                    tools._add_namespace(tool)
                case str() if kind in _OFFERED_BY_THE_SERVER:
                    tools.ignored.add(kind)
                    continue
                case _:
                    raise InvalidRequest(
                        f"tools of type {kind!r} are not supported, only functions", field="tools"
                    )
            tools.kept.append(tool)
        return tools

    @property
    def headers(self) -> dict[str, str]:
        """What a reply tells of tools that were left out."""
        return {replyheaders.TOOLS_IGNORED: ", ".join(sorted(self.ignored))} if self.ignored else {}

    def named(self, name: str) -> dict[str, str]:
        """The members that name a function to the client: `name`, and `namespace` if it has one."""
        if name not in self._namespaces:
            return {"name": name}
        namespace, function = self._namespaces[name]
        return {"namespace": namespace, "name": function}

    def _add(self, tool: Mapping[str, Any], name: Any) -> None:
        function = {key: value for key, value in tool.items() if key != "type"} | {"name": name}
        try:
            parsed = Tool.parse({"type": "function", "function": function})
        except ValueError as error:
            raise InvalidRequest(str(error), field="tools") from error
        self.functions += (parsed,)

    def _add_namespace(self, tool: Mapping[str, Any]) -> None:
        namespace, members = tool.get("name"), tool.get("tools")
        if not isinstance(namespace, str) or not namespace or not isinstance(members, list):
            raise InvalidRequest("a namespace needs a name and a list of tools", field="tools")
        for member in members:
            if not isinstance(member, Mapping) or member.get("type", "function") != "function":
                raise InvalidRequest(
                    f"the namespace {namespace} has a tool that is no function", field="tools"
                )
            function = member.get("name")
            name = qualified_name(namespace, function)
            self._add(member, name)
            self._namespaces[name] = (namespace, str(function))


def qualified_name(namespace: Any, function: Any) -> str:
    """The name of a function as the model has it; no namespace: the function's own."""
    own = function if isinstance(function, str) else ""
    return f"{namespace}.{own}" if isinstance(namespace, str) and namespace and own else own
