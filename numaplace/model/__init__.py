"""The pure vocabulary that agent, scheduler and users share: values and functions, no I/O and no clock."""
