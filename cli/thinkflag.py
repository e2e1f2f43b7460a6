"""The flag `--think`, whose value may be left out."""

from typer._click import Context

from olmkit.cli.app import Command
from olmkit.cli.chat.asking import THINK_LEVELS


class ThinkCommand(Command):
    """`--think` may stand without a value, and takes the next word only if it is a level."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Parse the words; none are left."""
        words: list[str] = []
        rest = iter(args)
        for word in rest:
            if word == "--":
                words += [word, *rest]
            elif word == "--think":
                following = next(rest, None)
                if following in THINK_LEVELS:
                    words.append(f"--think={following}")
                else:
                    words += ["--think=true", *([] if following is None else [following])]
            else:
                words.append(word)
        return super().parse_args(ctx, words)
