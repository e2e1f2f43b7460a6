"""Doing without what kills the engine on this machine, instead of giving up."""
