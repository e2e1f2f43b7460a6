"""Go's `printf`: reads the format, leaves the values to `printing`.

Source: https://pkg.go.dev/fmt#hdr-Printing and its section on format errors.
"""

from collections.abc import Sequence

from olmkit.modelfile.gotemplate.evaluation.values import type_name
from olmkit.modelfile.gotemplate.limits import Execution
from olmkit.modelfile.gotemplate.printing.verbs import Flags, Printer

_LARGEST = 1_000_000
"""Go's bound on widths and precisions, all but their last digit when written in the format."""
_DIGITS = frozenset("0123456789")


def format_values(form: str, values: Sequence[object], execution: Execution) -> str:
    """The formatted text; faults of the format stand in it as Go writes them (`%!d(string=a)`).

    Raises:
        FunctionFailed: a Python type that templates do not know.
        TemplateLimitExceeded: too much text.
    """
    execution.step(len(form) >> 2)
    return _Format(form, values, execution).run()


class _Format:
    """One pass over a format."""

    def __init__(self, form: str, values: Sequence[object], execution: Execution) -> None:
        self.form = form
        self.last_bracket = form.rfind("]")
        self.values = values
        self.printer = Printer(execution)
        self.at = 0
        self.argument = 0
        self.is_reordered = False
        self.is_good_argument = True
        self.is_after_index = False

    def run(self) -> str:
        form, printer = self.form, self.printer
        while True:
            percent = form.find("%", self.at)
            printer.write(form[self.at : percent] if percent >= 0 else form[self.at :])
            if percent < 0:
                break
            self.at = percent + 1
            self._verb()
        if not self.is_reordered and self.argument < len(self.values):
            self._extra()
        return printer.text()

    def _verb(self) -> None:
        self.is_good_argument = True
        flags = self.printer.flags = self._flags()
        self.is_after_index = self._index()
        self._width(flags)
        self._precision(flags)
        if not self.is_after_index:
            self.is_after_index = self._index()
        verb = self.form[self.at : self.at + 1]
        self.at += 1
        write = self.printer.write
        if not verb:
            write("%!(NOVERB)")
        elif verb == "%":
            write("%")
        elif not self.is_good_argument:
            write(f"%!{verb}(BADINDEX)")
        elif self.argument >= len(self.values):
            write(f"%!{verb}(MISSING)")
        else:
            if verb in "vw":
                flags.sharp_v, flags.sharp = flags.sharp, False
                flags.plus_v, flags.plus = flags.plus, False
            value = self.values[self.argument]
            self.argument += 1
            self.printer.print(value, verb)

    def _flags(self) -> Flags:
        flags = Flags()
        while (char := self.form[self.at : self.at + 1]) and char in "#0+- ":
            flags.sharp |= char == "#"
            flags.zero |= char == "0"
            flags.plus |= char == "+"
            flags.minus |= char == "-"
            flags.space |= char == " "
            self.at += 1
        return flags

    def _index(self) -> bool:
        """Read `[n]`, whether there was a good one."""
        if not self.form.startswith("[", self.at):
            return False
        self.is_reordered = True
        is_closed = self.at < self.last_bracket and len(self.form) - self.at >= 3
        closing = self.form.find("]", self.at) if is_closed else -1
        if closing < 0:
            self.at += 1
            self.is_good_argument = False
            return False
        digits = self.form[self.at + 1 : closing]
        self.at = closing + 1
        number = _number(digits)
        if number is not None and 1 <= number <= len(self.values):
            self.argument = number - 1
            return True
        self.is_good_argument = False
        return number is not None

    def _width(self, flags: Flags) -> None:
        if self.form.startswith("*", self.at):
            self.at += 1
            flags.width = self._integer_argument()
            if flags.width is None:
                self.printer.write("%!(BADWIDTH)")
            elif flags.width < 0:
                flags.width = -flags.width
                flags.minus, flags.zero = True, False
            self.is_after_index = False
            return
        flags.width = self._digits()
        if self.is_after_index and flags.width is not None:
            self.is_good_argument = False

    def _precision(self, flags: Flags) -> None:
        if not self.form.startswith(".", self.at) or self.at + 1 >= len(self.form):
            return
        self.at += 1
        if self.is_after_index:
            self.is_good_argument = False
        self.is_after_index = self._index()
        if self.form.startswith("*", self.at):
            self.at += 1
            precision = self._integer_argument()
            flags.precision = precision if precision is None or precision >= 0 else None
            if flags.precision is None:
                self.printer.write("%!(BADPREC)")
            self.is_after_index = False
            return
        flags.precision = self._digits() or 0

    def _digits(self) -> int | None:
        """A number, if there is one; Go gives up on the whole format at one too large."""
        start = self.at
        while self.form[self.at : self.at + 1] in _DIGITS:
            self.at += 1
        digits = self.form[start : self.at]
        number = _number(digits)
        if digits and number is None:
            self.at = len(self.form)
        return number

    def _integer_argument(self) -> int | None:
        if self.argument >= len(self.values):
            return None
        value = self.values[self.argument]
        self.argument += 1
        if not isinstance(value, int) or isinstance(value, bool) or abs(value) > _LARGEST:
            return None
        return value

    def _extra(self) -> None:
        printer = self.printer
        printer.flags = Flags()
        printer.write("%!(EXTRA ")
        for index, value in enumerate(self.values[self.argument :]):
            if index:
                printer.write(", ")
            if value is None:
                printer.write("<nil>")
            else:
                printer.write(f"{type_name(value)}=")
                printer.print(value, "v")
        printer.write(")")


def _number(digits: str) -> int | None:
    """The value of decimal digits, None for others and where Go finds too many of them."""
    if not digits or len(digits) > 400 or not _DIGITS.issuperset(digits):
        return None
    return int(digits) if int(digits[:-1] or 0) <= _LARGEST else None
