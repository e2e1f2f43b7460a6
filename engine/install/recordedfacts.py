"""What `olm-engine.json` will say: how the engine was built, beside its libraries.

llama-cpp-python's own build writes it (`engine.cmake`), so that pip installs and removes it with
the libraries. Its form stands in `olmkit.engine.facts.enginebuild`.
"""

import datetime
import json
import shlex

from olmkit.engine.facts.enginebuild import SCHEMA
from olmkit.engine.facts.processor import Processor
from olmkit.engine.install.plan import AMX_HEADER, Plan


def facts_template(plan: Plan, processor: Processor) -> str:
    """The text before CMake has filled in what it alone knows, as `@NAME@`."""
    facts = {
        "schema": SCHEMA,
        "llama_cpp_python": "@SKBUILD_PROJECT_VERSION@",
        "compiler": {"id": "@CMAKE_CXX_COMPILER_ID@", "version": "@CMAKE_CXX_COMPILER_VERSION@"},
        "c_flags": shlex.join(plan.compiler_flags).replace(str(AMX_HEADER), AMX_HEADER.name),
        "cmake": dict(plan.definitions),
        "cpu": {"model": processor.model.replace("@", "at"), "flags": list(plan.features)},
        "backends": list(plan.backends),
        "portable": plan.is_portable,
        "workarounds": list(plan.workarounds),
        "built_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    return json.dumps(facts, indent=2) + "\n"
