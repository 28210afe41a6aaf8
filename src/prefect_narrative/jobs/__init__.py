"""The core: states, the job record, its table, and what keeps the table true."""
