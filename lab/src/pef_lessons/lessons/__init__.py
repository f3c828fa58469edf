"""The twelve lessons, one module each: text, start, rule, milestones, hints, and a solution."""
