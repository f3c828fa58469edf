"""Secure memory: frames, the cipher, copies, and which normal pages are in use."""
