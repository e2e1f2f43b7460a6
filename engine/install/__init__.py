"""The engine of this machine: which llama.cpp, how it is built, and the proof that it runs.

`python -m olmkit.engine.install` needs nothing but Python: it runs before olm's dependencies are
there, so that llama.cpp is compiled once and rightly instead of twice.
"""
