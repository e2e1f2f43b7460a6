"""What pydantic writes for its types is kept, and its own values of them are answers."""

import datetime
import decimal
import enum
import ipaddress
import pathlib
import re
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import pydantic
import pytest
from pydantic import (
    AnyUrl,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ByteSize,
    ConfigDict,
    DirectoryPath,
    Field,
    FilePath,
    FutureDate,
    HttpUrl,
    IPvAnyAddress,
    Json,
    NewPath,
    RootModel,
    SecretStr,
    StringConstraints,
    conlist,
)
from typing_extensions import TypedDict

from olmkit.engine.jsonschema.rewriting import rewrite
from support.grammar import accepts

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    GREEN = "grün"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Plain(BaseModel):
    text: str
    count: int
    ratio: float
    is_on: bool
    nothing: None
    raw: bytes


class Optional(BaseModel):
    required: str | None
    given: int = 5
    made: list[str] = Field(default_factory=list)


class Bounded(BaseModel):
    text: Annotated[str, StringConstraints(min_length=2, max_length=5, pattern=r"^[a-z]+\d?$")]
    positive: Annotated[int, Field(gt=0, le=2**63 - 1)]
    share: Annotated[float, Field(ge=0, le=1)]
    even: Annotated[int, Field(multiple_of=2)]
    few: conlist(int, min_length=1, max_length=3)  # type: ignore[valid-type]


class Times(BaseModel):
    at: datetime.datetime
    aware: AwareDatetime
    day: datetime.date
    later: FutureDate
    clock: datetime.time
    span: datetime.timedelta


class Strings(BaseModel):
    id: uuid.UUID
    url: AnyUrl
    web: HttpUrl
    path: pathlib.Path
    file: FilePath
    folder: DirectoryPath
    new: NewPath
    secret: SecretStr
    v4: ipaddress.IPv4Address
    v6: ipaddress.IPv6Address
    any: IPvAnyAddress
    network: ipaddress.IPv4Network
    interface: ipaddress.IPv6Interface
    coded: Base64Bytes
    parsed: Json[list[int]]
    pattern: re.Pattern[str]
    amount: decimal.Decimal
    size: ByteSize


class Point(NamedTuple):
    x: int
    y: int = 0


class Movie(TypedDict, total=False):
    title: str
    year: int


@dataclass
class Spot:
    name: str
    level: Level = Level.LOW


class Collections(BaseModel):
    unique: set[int]
    frozen: frozenset[Colour]
    pair: tuple[int, str]
    many: tuple[int, ...]
    mapping: dict[str, int]
    by_colour: dict[Colour, int]
    by_number: dict[int, str]
    ordered: OrderedDict[str, float]
    named: Point
    typed: Movie
    spot: Spot
    anything: Any
    objects: list[dict[str, Any]]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog", "wolf"]
    tricks: list[str]


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    other: Cat | Dog | str | None = None
    mixed: int | float | str


class Node(BaseModel):
    value: int
    left: "Node | None" = None
    right: "Node | None" = None


class Author(BaseModel):
    name: str
    books: "list[Book]" = []


class Book(BaseModel):
    title: str
    author: Author | None = None


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    name: str


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str


class Aliased(BaseModel):
    model_config = ConfigDict(title="A title", json_schema_extra={"examples": [{"from": "x"}]})
    source: str = Field(alias="from", description="Where from", examples=["x"], deprecated=True)
    state: Literal["a", 1, True, None] = Field(title="State")


class Generic1(BaseModel, Generic[T]):
    item: T
    rest: list[T]


class Derived(Plain):
    more: str


class Listed(RootModel[list[Cat]]):
    pass


class Union(RootModel[Cat | Dog]):
    pass


NOW = datetime.datetime(2024, 1, 31, 10, 20, 30, tzinfo=datetime.UTC)
CAT = Cat(kind="cat", lives=9)
TREE = Node(value=1, left=Node(value=2, left=Node(value=3)), right=Node(value=4))
VALUES: list[BaseModel] = [
    Plain(text="x", count=1, ratio=0.5, is_on=True, nothing=None, raw=b"x"),
    Optional(required=None),
    Bounded(text="abc1", positive=5, share=0.25, even=4, few=[1, 2]),
    Times(at=NOW, aware=NOW, day=NOW.date(), later=datetime.date(9999, 1, 1),
          clock=NOW.timetz(), span=datetime.timedelta(days=1, hours=2)),
    Collections(unique={1}, frozen=frozenset({Colour.RED}), pair=(1, "x"), many=(1, 2, 3),
                mapping={"a": 1}, by_colour={Colour.GREEN: 1}, by_number={1: "x"},
                ordered=OrderedDict(a=0.5), named=Point(1, 2), typed={"title": "x"},
                spot=Spot("x"), anything=[{"a": None}], objects=[{"a": 1}]),
    Owner(pet=CAT, other=Dog(kind="wolf", tricks=[]), mixed=0.5),
    TREE,
    Author(name="a", books=[Book(title="b", author=Author(name="c"))]),
    Open(name="x", more=1),  # type: ignore[call-arg]
    Closed(name="x"),
    Aliased.model_validate({"from": "x", "state": None}),
    Generic1[Cat](item=CAT, rest=[CAT]),
    Derived(text="x", count=1, ratio=0.5, is_on=True, nothing=None, raw=b"x", more="y"),
    Listed([CAT]),
    Union(CAT),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("mode", ["validation", "serialization"])
def test_pydantics_own_values_are_answers(value: BaseModel, mode: Any) -> None:
    schema = rewrite(type(value).model_json_schema(mode=mode))
    assert accepts(schema, value.model_dump(mode="json", by_alias=True)), schema


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_members_that_nobody_named_are_no_answers(value: BaseModel) -> None:
    schema = rewrite(type(value).model_json_schema())
    dumped = value.model_dump(mode="json", by_alias=True)
    if isinstance(dumped, dict):
        is_open = isinstance(value, Open)
        assert accepts(schema, {**dumped, "invented": 1}) is is_open


def test_every_kind_of_string_is_taken() -> None:
    schema = rewrite(Strings.model_json_schema())
    formats = {note.partition(" at ")[0] for note in schema.ignored}
    assert {'format "path"', 'format "password"', 'format "file-path"'} <= formats
    with pytest.raises(ValueError, match="Unsatisfiable"):  # the harness does see what is refused
        accepts(rewrite({"type": "string", "minLength": 5, "maxLength": 3}), "x")


def test_a_set_is_a_list_and_that_is_said() -> None:
    schema = rewrite(Collections.model_json_schema())
    assert "uniqueItems at #/properties/unique" in schema.ignored


def test_alternatives_told_by_a_constant_lose_nothing() -> None:
    assert rewrite(Owner.model_json_schema()).ignored == ()


def test_pydantics_openapi_discriminators_are_no_keywords_of_a_schema() -> None:
    adapter = pydantic.TypeAdapter(Annotated[Cat | Dog, Field(discriminator="kind")])
    assert rewrite(adapter.json_schema()).ignored == ()
