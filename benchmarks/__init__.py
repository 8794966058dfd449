"""Measurements of Hopper, each beside the limit of the machine or the plain way, in the same run."""
