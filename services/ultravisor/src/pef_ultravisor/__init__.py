"""The Ultravisor: the trusted side, owner of secure memory."""
