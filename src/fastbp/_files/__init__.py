"""How objects become files and come back: see `fastbp.save`.

`container` reads and writes files: tensors, and a text that says what they are; `replacing` sees to
it that they are written whole or not at all. `values` turns an object into that text and those
tensors and back, by a closed table of types. Its rows are in the modules `plain`, `arrays`,
`dates`, `parts`, `estimators`, `tables` and `networks`. What comes out of a file is checked by the
functions in `checks` before anything is made of it, and so is what goes in. `convert` makes
scikit-learn's estimators into fastbp's and back.
"""
