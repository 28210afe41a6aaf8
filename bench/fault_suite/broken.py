"""A module of a job type that can't be imported: there are no hooks of a flow that was never made."""

raise ImportError("this module can't be imported, which is what it is for")
