"""A guest image as UV_ESM reads it: untrusted bytes, copied into secure memory before they are looked at."""
