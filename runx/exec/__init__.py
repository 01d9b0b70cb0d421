"""Starts and supervises the virtual machine of a compiled plan, through xl."""
