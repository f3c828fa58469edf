"""The machines of both services in one process: the wire between them, their memory, and open calls."""
