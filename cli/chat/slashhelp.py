"""The help texts of a chat."""

from olmkit.modelfile.parameters import TABLE, ParameterType


def _rows(rows: list[tuple[str, str]], width: int) -> str:
    return "".join(f"  {left:<{width}} {right}".rstrip() + "\n" for left, right in rows)


def overview(*, is_multimodal: bool) -> str:
    """What `/?` prints."""
    rows = [
        ("/set", "Set session variables"),
        ("/show", "Show model information"),
        ("/load <model>", "Load a session or model"),
        ("/model [name]", "Go on with another model, or show which it is"),
        ("/save <model>", "Save your current session"),
        ("/list [prefix]", "List models"),
        ("/clear", "Clear session context"),
        ("/retry", "Ask the last question again"),
        ("/undo", "Forget the last question and its answer"),
        ("/tokens", "Show how much of the context is used"),
        ("/stats", "Show LLM stats of the whole chat"),
        ("/export <file>", "Write the chat as Markdown or JSON"),
        ("/bye", "Exit"),
        ("/?, /help", "Help for a command"),
        ("/? shortcuts", "Help for keyboard shortcuts"),
    ]
    text = f'Available Commands:\n{_rows(rows, 16)}\nUse """ to begin a multi-line message.\n'
    if is_multimodal:
        text += "Use /path/to/file to include .jpg, .png, .webp images, or .wav audio files.\n"
    return text + "\n"


def settings() -> str:
    """What `/? set` prints."""
    rows = [
        ("/set parameter ...", "Set a parameter"),
        ("/set system <string>", "Set system message"),
        ("/set history", "Enable history"),
        ("/set nohistory", "Disable history"),
        ("/set wordwrap", "Enable wordwrap"),
        ("/set nowordwrap", "Disable wordwrap"),
        ("/set format json", "Enable JSON mode"),
        ("/set noformat", "Disable formatting"),
        ("/set verbose", "Show LLM stats"),
        ("/set quiet", "Disable LLM stats"),
        ("/set think [level]", "Enable thinking"),
        ("/set nothink", "Disable thinking"),
    ]
    return f"Available Commands:\n{_rows(rows, 22)}\n"


def shows() -> str:
    """What `/? show` prints."""
    rows = [
        ("/show info", "Show details for this model"),
        ("/show license", "Show model license"),
        ("/show modelfile", "Show Modelfile for this model"),
        ("/show parameters", "Show parameters for this model"),
        ("/show system", "Show system message"),
        ("/show template", "Show prompt template"),
    ]
    return f"Available Commands:\n{_rows(rows, 18)}\n"


def shortcuts() -> str:
    """What `/? shortcuts` prints."""
    rows = [
        ("Ctrl + a", "Move to the beginning of the line (Home)"),
        ("Ctrl + e", "Move to the end of the line (End)"),
        ("Alt + b", "Move back one word"),
        ("Alt + f", "Move forward one word"),
        ("Ctrl + k", "Delete to the end of the line"),
        ("Ctrl + u", "Delete to the beginning of the line"),
        ("Ctrl + w", "Delete the word before the cursor"),
        ("Ctrl + j", "Begin another line"),
        ("", ""),
        ("Ctrl + r", "Search the history"),
        ("Tab", "Complete a command, else blanks"),
        ("Ctrl + l", "Clear the screen"),
        ("Ctrl + g", "Edit the message in your editor"),
        ("Ctrl + c", "Stop the model from responding"),
        ("Ctrl + d", "Exit olm (/bye)"),
    ]
    return f"Available keyboard shortcuts:\n{_rows(rows, 20)}\n"


def parameters() -> str:
    """What `/set parameter` prints: every parameter of the language."""
    kinds = {
        ParameterType.INTEGER: "<int>",
        ParameterType.FLOAT: "<float>",
        ParameterType.BOOLEAN: "<bool>",
        ParameterType.STRINGS: "<string> <string> ...",
    }
    rows = [
        (f"/set parameter {name} {kinds[row.type]}", row.meaning) for name, row in TABLE.items()
    ]
    width = max(len(left) for left, _ in rows)
    return f"Available Parameters:\n{_rows(rows, width)}\n"
