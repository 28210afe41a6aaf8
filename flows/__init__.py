"""Job types: one module each, with its inputs, its result and its steps."""
