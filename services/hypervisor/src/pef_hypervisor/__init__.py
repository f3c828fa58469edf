"""The Hypervisor: the untrusted side, owner of normal memory."""
