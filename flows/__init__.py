"""Job types: one module each, its inputs, its result, its steps."""
