"""`olm.toml`: which files count, what wins, what is refused, and how a line is changed."""

import os
import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, strategies

from olmkit.engine.configuration.configedit import Value, edited, parse_value, write_value
from olmkit.engine.configuration.configfiles import PROJECT_KEYS, find_project_file, user_file
from olmkit.engine.configuration.settingreader import Kind
from olmkit.engine.configuration.tomllines import Lines, parse_document
from olmkit.engine.errors import InvalidRequest
from olmkit.engine.settings import Settings
from support.nobody import as_nobody

ABSENT = Path("/absent/olm.toml")


class Files:
    """The three files in a directory of a test, and the settings by them."""

    def __init__(self, root: Path) -> None:
        self.system = root / "etc" / "olm.toml"
        self.user = root / "config" / "olm" / "olm.toml"
        self.project = root / "project" / "olm.toml"
        self.environ = {"HOME": str(root), "XDG_CONFIG_HOME": str(root / "config")}
        for path in (self.system, self.user, self.project):
            path.parent.mkdir(parents=True)

    def load(self, **environ: str) -> Settings:
        return Settings.load(
            self.environ | environ, directory=self.project.parent, system=self.system
        )


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def test_paths_for_other_processes_are_those_of_variables() -> None:
    environ = {
        "HOME": "/h",
        "OLM_INSECURE_REGISTRIES": "r",
        "OLM_CA_BUNDLE": "/c",
        "OLM_HOME": "/o",
    }
    assert Settings.from_environment(environ).path_variables == {
        "OLM_CA_BUNDLE": "/c",
        "OLM_HOME": "/o",
    }


def test_each_layer_wins_over_the_one_below(files: Files) -> None:
    assert files.load().source_of("keep_alive_s") == "default"
    steps: list[tuple[Path, str, float]] = [
        (files.system, "# all\nkeep_alive = 1\n", 1),
        (files.user, '\nkeep_alive = "2s"\n', 2),
        (files.project, "keep_alive = 3\n", 3),
    ]
    for path, text, seconds in steps:
        path.write_text(text)
        settings = files.load()
        line = text[: text.index("keep_alive")].count("\n") + 1
        assert settings.keep_alive_s == seconds
        assert settings.source_of("keep_alive_s") == f"{path}:{line}"
    assert files.load().project_fields == {"keep_alive_s"}
    assert files.load(OLLAMA_KEEP_ALIVE="4").keep_alive_s == 4
    both = files.load(OLLAMA_KEEP_ALIVE="4", OLM_KEEP_ALIVE="5")
    assert both.keep_alive_s == 5
    assert both.source_of("keep_alive_s") == "OLM_KEEP_ALIVE"
    assert both.project_fields == frozenset()


def test_without_a_directory_no_project_counts(files: Files) -> None:
    files.project.write_text("keep_alive = 3")
    settings = Settings.load(files.environ, system=files.system)
    assert settings.keep_alive_s == 300


def test_values_of_every_kind_are_taken(files: Files) -> None:
    files.user.write_text(
        'host = "127.0.0.1:99"\nmodels = "~/store"\nnum_parallel = 8\ncache_disk = "2G"\n'
        'socket_mode = "0660"\nstall_timeout = "2m"\nnoprune = true\nkv_offload = false\n'
        'on_overflow = "Error"\nhosts = [\n  "a.example",\n  "b.example",\n]\ndebug = 2\n'
        'insecure_registries = ["r.example"]\nca_bundle = "/ca.pem"\nsplit_mode = "row"\n'
    )
    settings = files.load()
    assert settings.address.port == 99
    assert settings.models == Path(files.environ["HOME"]) / "store"
    assert settings.parallel == 8
    assert settings.prompt_store_bytes == 2 << 30
    assert settings.socket_mode == 0o660
    assert settings.stall_timeout_s == 120
    assert (settings.no_prune, settings.kv_offload) == (True, False)
    assert settings.on_overflow == "error"
    assert settings.hosts == ("a.example", "b.example")
    assert settings.log_level == 5
    assert settings.remotes.plain_http_hosts == {"r.example"}
    assert settings.remotes.ca_bundle == "/ca.pem"
    assert settings.path_variables == {"OLM_CA_BUNDLE": "/ca.pem"}
    assert settings.source_of("split_mode") == f"{files.user}:17"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("keep_alife = 1", "there is no setting 'keep_alife'"),
        ("num_parallel = 1.5", "is no setting: it is a float"),
        ('num_parallel = "many"', "is not a whole number"),
        ("num_parallel = true", "is not a whole number"),
        ("num_parallel = -1", "is no whole number"),
        ('keep_alive = "soon"', "is no duration"),
        ('noprune = "yes"', "is not true or false"),
        ('on_overflow = "explode"', "none of error, truncate, shift"),
        ('host = ":99999"', "is no port"),
        ("models = 3", "is not a path"),
        ('models = "store"', "is no whole path"),
        ("hosts = [1]", "is no setting: it is a list"),
        ("[daemon]\nkeep_alive = 1", "is no setting: it is a dict"),
        ('cache_disk = "much"', "no number of bytes"),
        ('socket_mode = "rw"', "no mode"),
    ],
)
def test_what_cannot_be_used_is_told_with_file_and_line(files: Files, line: str, said: str) -> None:
    files.user.write_text(f"# a comment\n\n{line}\n")
    with pytest.raises(InvalidRequest) as caught:
        files.load()
    assert str(caught.value).startswith(f"{files.user}:3: ")
    assert said in str(caught.value)
    assert caught.value.hint


def test_a_key_that_others_can_read_is_told(files: Files) -> None:
    files.user.write_text('api_key = "k"')
    files.user.chmod(0o644)
    assert files.load().warnings == (
        f"{files.user} holds api_key and can be read by others: chmod 600 it",
    )
    files.user.chmod(0o600)
    assert files.load().warnings == ()
    assert files.load().api_key == "k"


def test_a_key_in_the_systems_file_is_not_mended_by_shutting_all_out(files: Files) -> None:
    files.system.write_text('api_key = "k"')
    files.system.chmod(0o644)
    assert files.load().warnings == (
        f"{files.system} holds api_key and can be read by others: "
        "move api_key into users' own files",
    )


@pytest.mark.parametrize("is_folder", [True, False])
def test_a_systems_file_that_is_shut_to_a_user_does_not_count(
    is_folder: bool,
) -> None:
    with TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        files = Files(root)
        files.system.write_text("keep_alive = 7")
        files.user.write_text("num_parallel = 3")
        files.project.write_text("context_length = 512")
        shut = files.system.parent if is_folder else files.system
        shut.chmod(0)
        with as_nobody():
            settings = files.load()
        assert settings.warnings == (f"{files.system} does not count: permission denied",)
        assert (settings.keep_alive_s, settings.parallel) == (300, 3)
        assert settings.project_fields == {"context_tokens"}
        shut.chmod(0o700)


def test_ones_own_file_has_to_be_readable(files: Files) -> None:
    files.user.write_text("num_parallel = 3")
    files.user.chmod(0)
    with as_nobody(), pytest.raises(InvalidRequest, match="cannot be read: permission denied"):
        files.load()
    with as_nobody(), pytest.raises(InvalidRequest, match="cannot be read: permission denied"):
        files.load(OLM_CONFIG=str(files.user))


def test_a_file_that_is_named_has_to_be_there(files: Files, tmp_path: Path) -> None:
    files.user.write_text("keep_alive = 2")
    assert files.load(OLM_CONFIG="/dev/null").keep_alive_s == 300
    with pytest.raises(InvalidRequest, match="OLM_CONFIG names no file"):
        files.load(OLM_CONFIG=str(tmp_path / "absent.toml"))


def test_an_unknown_key_comes_with_the_nearest_one(files: Files) -> None:
    files.user.write_text("keep_alife = 1")
    with pytest.raises(InvalidRequest) as caught:
        files.load()
    assert caught.value.hint == "did you mean 'keep_alive'?"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"keep_alive = \n", "line 1"),
        (b"keep_alive = '\xff'", "no text in UTF-8"),
        (b"#" * 70000, "larger than"),
        (b"a = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b'\\"""\n' * 13000, "line 1"),
        (b'"' + b'\\"' * 32000, "nterminated string"),
        (b"a" + b".a" * 32000 + b" = 1", "more than 32 parts"),
        (b"a = {'b'" + b" . b" * 16000 + b" = 1}", "more than 32 parts"),
    ],
)
def test_a_file_that_is_none_is_told_by_its_name(files: Files, raw: bytes, said: str) -> None:
    files.user.write_bytes(raw)
    with pytest.raises(InvalidRequest) as caught:
        files.load()
    assert str(caught.value).startswith(str(files.user))
    assert said in str(caught.value)


def test_a_project_sets_nothing_but_how_it_asks(files: Files) -> None:
    for key, reading in files.load().readings.items():
        value = "true" if reading.kind is Kind.FLAG else "1"
        files.project.write_text(f"{key} = {value}")
        if key in PROJECT_KEYS and reading.kind is not Kind.CHOICE:
            assert files.load().project_fields == {reading.field}
        elif key not in PROJECT_KEYS:
            with pytest.raises(InvalidRequest, match=r"cannot be set by a project's file"):
                files.load()
    assert {"host", "api_key", "editor", "models", "home", "rpc"} & PROJECT_KEYS == set()


@pytest.mark.parametrize("value", ["false", '""', "[]"])
def test_a_project_turns_history_off_and_not_on(files: Files, value: str) -> None:
    files.user.write_text("nohistory = true")
    files.project.write_text(f"nohistory = {value}")
    with pytest.raises(InvalidRequest, match="'nohistory' can only be true in a project's file"):
        files.load()
    files.user.write_text("nohistory = false")
    files.project.write_text("nohistory = true")
    assert files.load().no_history


def test_the_nearest_file_upwards_counts_as_far_as_the_repository(tmp_path: Path) -> None:
    deep = tmp_path / "outer" / "inner" / "deep"
    deep.mkdir(parents=True)
    (tmp_path / "outer" / "olm.toml").touch()
    assert find_project_file(deep) == tmp_path / "outer" / "olm.toml"
    (tmp_path / "outer" / "inner" / ".git").mkdir()
    assert find_project_file(deep) is None
    (tmp_path / "outer" / "inner" / "olm.toml").touch()
    assert find_project_file(deep) == tmp_path / "outer" / "inner" / "olm.toml"


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files to others")
def test_where_everybody_may_write_only_ones_own_file_counts(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    path = tmp_path / "olm.toml"
    path.touch()
    assert find_project_file(tmp_path) == path
    os.chown(path, 12345, 12345)
    assert find_project_file(tmp_path) is None
    tmp_path.chmod(0o755)
    assert find_project_file(tmp_path) == path


def test_the_users_file_is_where_xdg_says_or_where_the_variable_does() -> None:
    home = Path("/home/a")
    assert user_file({}, home) == Path("/home/a/.config/olm/olm.toml")
    assert user_file({"XDG_CONFIG_HOME": "/c"}, home) == Path("/c/olm/olm.toml")
    assert user_file({"XDG_CONFIG_HOME": "relative"}, home) == user_file({}, home)
    assert user_file({"OLM_CONFIG": "/dev/null"}, home) == Path("/dev/null")
    assert user_file({}, None) is None


def test_lines_are_found_behind_values_of_several_lines() -> None:
    text = 'a = """\nb = 1\n"""\n[[case]]\nname = "x" # c\n[case.options]\nseed = 1\n'
    text += "\n[[case]]\nexpect = [\n  { contains = 'y' },\n]\nd.e = 2\n"
    document = parse_document(text)
    line_of = Lines(document).of
    assert line_of(("a",)) == 1
    assert line_of(("case", 0, "name")) == 5
    assert line_of(("case", 0, "options", "seed")) == 7
    assert line_of(("case", 1, "expect", 0, "contains")) == 10
    assert line_of(("case", 1, "d", "e")) == 13
    assert line_of(("case", 1, "prompt")) == 9
    assert line_of(("nowhere",)) == 1
    assert [each.first_line for each in document.statements] == [1, 4, 5, 6, 7, 9, 10, 13]


def test_statements_end_where_nothing_is_open_in_them() -> None:
    texts = [
        'a = [ # ]\n  \'[\', "]", # "\n]',
        '"#\'[".b = { c = \']\', \'d"\' = "\\\\", e = "\\"[" } # it\'s [',
        'f = """[\n\\""" \\\\"""""  # "',
        "g = '''\n]''{\n\\'''''",
        'h = """"""',
        "i = ''''''",
        "[[j.k]] # [",
        '[\'l]\'."m\\""]',
        "n = 07:32:00",
    ]
    found = parse_document("\n\n# ]\n".join(texts)).statements
    assert [each.text for each in found] == texts


def test_long_statements_and_many_are_read_a_fixed_number_of_times() -> None:
    text = "a = [\n" + "1,\n" * 200_000 + "]\n" + "[[case]]\nb = 1\n" * 20_000
    lines = Lines(parse_document(text))
    assert lines.of(("case", 0)) == 200_003
    assert [lines.of(("case", at, "b")) for at in range(20_000)] == list(range(200_004, 240_003, 2))


def test_lines_may_end_as_those_of_windows_do() -> None:
    document = parse_document("a = 1\r\n\r\n# c\r\n[[b]]\r\nc = [\r\n]\r\nd = 2\r\n")
    assert [each.first_line for each in document.statements] == [1, 4, 5, 7]


BEFORE = """# mine
keep_alive = "5m"   # long

hosts = [
    "a",  # first
]
# the end
"""


def test_a_change_leaves_all_else_as_it_was() -> None:
    assert edited(BEFORE, "keep_alive", 7, ABSENT) == BEFORE.replace('"5m"', "7")
    assert edited(BEFORE, "noprune", True, ABSENT) == BEFORE + "noprune = true\n"
    changed = edited(BEFORE, "hosts", ("b", 'c"'), ABSENT)
    assert changed == BEFORE.replace('[\n    "a",  # first\n]', '["b", "c\\""]')
    assert edited(BEFORE, "keep_alive", None, ABSENT) == BEFORE.replace(
        'keep_alive = "5m"   # long\n', ""
    )
    long = f'keep_alive = "{"#" * 60_000}" # {"#" * 500_000}'
    assert edited(long, "keep_alive", 7, ABSENT) == f"keep_alive = 7{long[60_015:]}"
    assert edited("[table]\nx = 1\n", "x", 2, ABSENT) == "x = 2\n[table]\nx = 1\n"


values = strategies.one_of(
    strategies.booleans(),
    strategies.integers(-(10**9), 10**9),
    strategies.text(strategies.characters(exclude_categories=["Cs"]), max_size=20),
    strategies.lists(strategies.text("ab,\"'#\\", max_size=5), max_size=3).map(tuple),
)


@given(
    strategies.dictionaries(strategies.sampled_from("abcd"), values, max_size=4),
    strategies.sampled_from("abcde"),
    values,
)
def test_a_change_changes_one_key_whatever_is_written(
    before: dict[str, Value], key: str, value: Value
) -> None:
    text = ""
    for name, old in before.items():
        text = edited(text, name, old, ABSENT)
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in before.items()}
    assert tomllib.loads(text) == plain
    new = list(value) if isinstance(value, tuple) else value
    assert tomllib.loads(edited(text, key, value, ABSENT)) == plain | {key: new}
    plain.pop(key, None)
    assert tomllib.loads(edited(text, key, None, ABSENT)) == plain


def test_words_become_values_of_the_settings_kind() -> None:
    assert parse_value("false", Kind.FLAG) is False
    assert parse_value("8", Kind.COUNT) == 8
    assert parse_value("5m", Kind.DURATION) == "5m"
    assert parse_value("a, b", Kind.LIST) == ("a", "b")
    assert parse_value("8", Kind.TEXT) == "8"
    assert parse_value("true", Kind.LEVEL) is True


def test_a_new_file_is_for_its_owner_alone_and_a_link_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "new" / "olm.toml"
    write_value(path, "api_key", "s")
    assert path.stat().st_mode & 0o777 == 0o600
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    write_value(link, "debug", True)
    assert link.is_symlink()
    assert path.read_text() == 'api_key = "s"\ndebug = true\n'
