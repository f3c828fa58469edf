"""Hypercalls: how they are made, and what they are made for."""
