"""HTTP as registries need it: clients, proxies, credentials, challenges, bodies."""
