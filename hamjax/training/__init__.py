"""Training: the step, the loop around it, what it is set up from and what it leaves."""
