"""Every check and every conversion of what a user passes, each in one place.

`arguments` has single values (sizes, names, bytes), `arrays` the rows, weights and vectors, and
`targets` what y may be. A check returns its argument, converted only where it must be, or raises an
error that names the argument, what it got and what it takes. The compiled core trusts the rest.
"""
