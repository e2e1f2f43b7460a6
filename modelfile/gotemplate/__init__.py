"""Go's text/template, as models use it: parse and carry out untrusted templates within bounds.

Pure: no files but the grammar, no network, no clock. `Template` is the interpreter; `chattemplate`
says what makes one a model's; `introspection` tells what a template says about its model.
"""

from olmkit.modelfile.gotemplate.limits import Limits
from olmkit.modelfile.gotemplate.template import Template
from olmkit.modelfile.gotemplate.templateerrors import (
    TemplateError,
    TemplateExecutionError,
    TemplateLimitExceeded,
    TemplateSyntaxError,
)

__all__ = [
    "Limits",
    "Template",
    "TemplateError",
    "TemplateExecutionError",
    "TemplateLimitExceeded",
    "TemplateSyntaxError",
]
