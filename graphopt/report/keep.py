"""The option that changes nothing."""

KEEP = "keep"  # the same word as in `graphopt.ir.space`, which the report does not import: it reads data only
