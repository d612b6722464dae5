"""Making it learn: the step, the loop, what drives the numbers."""
