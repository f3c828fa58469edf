"""The HTTP routes beside the ultracalls: the guest's accesses, and the machine's key."""
