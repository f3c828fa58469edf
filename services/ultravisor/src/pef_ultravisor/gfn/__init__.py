"""What the Ultravisor knows of each GFN: its columns, and the table of what each call does to it."""
