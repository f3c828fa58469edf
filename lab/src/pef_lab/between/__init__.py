"""Whoever stands on the wire: a server, a go-between before a service, and one that lies by a script."""
