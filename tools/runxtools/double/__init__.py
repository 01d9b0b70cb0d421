"""tools/xl-double: Xen's tools for a machine with no Xen; its domains are namespaces (docs/double.md)."""
