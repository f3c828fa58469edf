"""Seeded random simulation: larger systems than can be explored, with lost, delayed and doubled messages."""
