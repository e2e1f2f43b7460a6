"""The interactive chat of `olm run`: prompt, answers, and the commands that begin with `/`."""
