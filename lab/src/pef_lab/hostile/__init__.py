"""A Hypervisor that lies: the attacks of the catalogue, from outside, against a pair over HTTP."""
