"""What is done to the memory of a VM: whole slots, unmigrated pages, the abort path, the host's touch."""
