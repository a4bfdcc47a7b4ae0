"""Finding out who uses which page of a process, by whatever the kernel of this host can tell."""
