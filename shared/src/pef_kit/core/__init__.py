"""The pure part of the kit: identity, leases, the fence. No asyncio, no HTTP, no clock of its own."""
