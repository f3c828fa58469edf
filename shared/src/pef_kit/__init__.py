"""Mechanism that either side may use. It knows no rule of the protocol."""
