"""olm: build, pull, run and serve local language models.

The version is a constant so that `olm --version` needs no package metadata.
"""

__version__ = "0.1.0"
