"""The group ``follow``: how soon, and at what cost to the job, memory is home after a change of CPUs."""
