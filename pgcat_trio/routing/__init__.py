"""Decides which server a statement needs and what it leaves behind: values in, values out, no I/O."""
