"""A second judge beside the explorer: both sides on one GFN as a model for SPIN, compared at rest.

The tables and the settings of the designs are the services' own (`tables`). The operations are written a
second time, by hand, in Promela (`promela/*.pml`). `spin` has SPIN search them, `explored` has the explorer
search the services' own code, and `comparison` says which states at rest only one of the two has seen.
"""
