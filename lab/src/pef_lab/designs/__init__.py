"""The runs of the designs: one sequence of steps for all, each judged by what is seen from outside."""
