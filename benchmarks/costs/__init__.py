"""The figures that say how far costs can be believed, one module a source of evidence; `cost.py` assembles them."""
