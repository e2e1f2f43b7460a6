"""`olm serve` whose housekeeping spares nothing for being young, so that tests need not wait."""

import sys
from pathlib import Path

COMMAND = (sys.executable, str(Path(__file__)), "serve")


def main() -> None:
    from olmkit.cli.main import main as olm
    from olmkit.registry.store.store import Store

    assert Store.collect.__kwdefaults__ is not None
    Store.collect.__kwdefaults__["grace_s"] = 0.0
    olm()


if __name__ == "__main__":
    main()
