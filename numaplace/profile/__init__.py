"""Finding out who uses which page of a process, by whatever the kernel of this host can tell.

Each method is an adapter behind one small protocol (`method`): it says what it lacks here, and watches a process for
some seconds. Whatever it sets up in the kernel is put back when it ends, however it ends.
"""
