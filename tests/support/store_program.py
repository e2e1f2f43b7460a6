"""A process that works on a store until it is told to stop, or killed.

Run as `python store_program.py ROOT SEED ACTION…`; prints one line for every finished action.
"""

import random
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from olmkit.registry.errors import ModelNotFound
from olmkit.registry.oci.reference import Reference
from olmkit.registry.store.store import Store
from support.stores import GGUF, manifest

NAMES = [f"m{number}" for number in range(6)]
WEIGHTS = [GGUF * 200 + bytes([number]) for number in range(8)]


def say(line: str) -> None:
    """Tell the parent, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def put(store: Store, dice: random.Random) -> None:
    """Create a model out of blobs that others create and lose at the same time."""
    with store.lease():
        made = manifest(store, dice.choice(WEIGHTS), template=dice.choice([None, b"a", b"b"]))
        store.put(Reference.parse(dice.choice(NAMES)), made)


def ingest(store: Store, dice: random.Random) -> None:
    """Hand a file over and create a model of it."""
    with store.lease():
        name = f"{dice.getrandbits(128):032x}"
        weights = dice.choice(WEIGHTS)
        (store.incoming / name).write_bytes(weights)
        store.adopt(name)
        store.put(Reference.parse(dice.choice(NAMES)), manifest(store, weights))


def remove(store: Store, dice: random.Random) -> None:
    """Remove a model, if there is one."""
    try:
        store.remove(Reference.parse(dice.choice(NAMES)))
    except ModelNotFound:
        pass


def collect(store: Store, dice: random.Random) -> None:
    """Collect without any grace."""
    found = store.collect(grace_s=-1)
    assert not found.blocked_by, found.blocked_by


def hold(store: Store, dice: random.Random) -> None:
    """Take a lease on a blob and keep it until killed."""
    with store.lease():
        store.blobs.put_bytes(WEIGHTS[0])
        say("held")
        threading.Event().wait()


def write(store: Store, dice: random.Random) -> None:
    """Write a blob and never finish it."""
    with store.blobs.writer() as writer:
        writer.write(WEIGHTS[0])
        say("writing")
        while True:
            writer.write(b"x" * 4096)


ACTIONS = {act.__name__: act for act in (put, ingest, remove, collect, hold, write)}


def main() -> None:
    """Act until standard input ends."""
    store = Store(Path(sys.argv[1]))
    dice = random.Random(int(sys.argv[2]))
    actions = [ACTIONS[name] for name in sys.argv[3:]]
    stopped = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stopped.set()

    threading.Thread(target=wait, daemon=True).start()
    while not stopped.is_set():
        action = dice.choice(actions)
        action(store, dice)
        say(action.__name__)


if __name__ == "__main__":
    main()
