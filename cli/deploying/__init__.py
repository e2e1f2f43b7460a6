"""olm as a service of an operating system or a container engine: the files that say so."""
