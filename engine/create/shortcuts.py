"""Short names whose model is made here: their Modelfile becomes a recipe."""

from collections.abc import Callable

from olmkit.engine.create.assembly import Recipe
from olmkit.engine.errors import ModelNotCreatable
from olmkit.engine.models.spec import StoredMessage
from olmkit.modelfile.instructions import Adapter, Draft, From
from olmkit.modelfile.problems import ModelfileErrors
from olmkit.registry.oci.reference import Reference


def recipe_of_modelfile(name: Reference, text: str, resolve: Callable[[str], Reference]) -> Recipe:
    """The model of a short name; `resolve` gives what its FROM names.

    Raises:
        ModelNotCreatable: the text is wrong, or wants files: it must be FROM another model.
    """
    from olmkit.modelfile.parser import parse  # lark comes with it

    try:
        modelfile = parse(text, file_name=f"the Modelfile of {name.short}")
    except ModelfileErrors as error:
        raise ModelNotCreatable(str(error)) from error
    bases = [one.value for one in modelfile.instructions if isinstance(one, From)]
    wants_files = any(isinstance(one, Adapter | Draft) for one in modelfile.instructions)
    parents = [resolve(base) for base in bases]
    if wants_files or len(parents) != 1 or parents[0] == name:
        raise ModelNotCreatable(
            f"the Modelfile of the short name {name.short} must be FROM one other model, "
            "without files"
        )
    return Recipe(
        name=name,
        parent=parents[0],
        template=modelfile.template or None,
        system=modelfile.system or None,
        licenses=tuple(modelfile.licenses),
        parameters=modelfile.parameters,
        messages=tuple(
            StoredMessage(role=one.role.value, content=one.value) for one in modelfile.messages
        ),
    )
