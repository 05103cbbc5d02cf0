"""The commands of ``python -m fastbp``, a module for each, and what they share.

The module of a command has ``add(commands)``, which adds its parser, and ``run(arguments)``.
"""
