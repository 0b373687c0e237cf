"""The commands of `python -m mlinfra`, one a module: what it is asked (`add_arguments`) and what it answers (`run`)."""
