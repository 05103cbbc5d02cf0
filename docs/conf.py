"""Settings of the site: `make docs` builds it into build/docs, offline.

Pages are Markdown that reads well on GitHub, too; what the site makes of their links, and of the
docstrings, is in `_extension.py`.
"""

import sys
from pathlib import Path

import fastbp

sys.path.insert(0, str(Path(__file__).parent))

project = "fastbp"
author = "The fastbp developers"
copyright = author
version = release = fastbp.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "myst_parser",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "_extension",
]
templates_path = ["_templates"]
# The pictures of docs/images are drawn by scripts; the gallery's index is its page in the site.
exclude_patterns = ["_templates", "auto_examples/*.py", "auto_examples/*.ipynb"]
# `name` in a docstring is a parameter or a function: shown as code.
default_role = "literal"
smartquotes = False  # "relu" is code even where it is not marked as such

# ---- pages in Markdown ---------------------------------------------------------------------------

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4  # as on GitHub

# ---- the look ------------------------------------------------------------------------------------

html_theme = "pydata_sphinx_theme"
html_title = "fastbp"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_logo = "_static/logo.svg"
html_favicon = "_static/favicon.svg"
html_show_sourcelink = False
html_copy_source = False
html_sidebars = {"index": [], "**": ["pages"]}
html_theme_options = {
    "logo": {"text": "fastbp", "alt_text": "fastbp: start page"},
    "navbar_center": ["navbar-links"],
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button-field"],
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-dark",
}
copybutton_exclude = ".linenos, .gp, .go"

# ---- the reference, from the docstrings ----------------------------------------------------------

autosummary_generate = True
autodoc_typehints = "none"  # the docstrings say more
toc_object_entries_show_parents = "hide"
numpydoc_show_class_members = False
# Checked of every docstring that the reference shows. Parameters that are "as in" another method
# are named in one line, without their types, so PR04 is not among them.
numpydoc_validation_checks = {
    *("GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10"),
    *("SS01", "SS02", "SS04", "PR01", "PR02", "PR03", "PR05", "PR06", "PR07", "PR10"),
    *("RT01", "RT03", "YD01", "SA02", "SA03", "SA04"),
}
# A plan is made by the library: its fields are attributes, not parameters. The other is
# scikit-learn's.
numpydoc_validation_exclude = {r"\.MemoryPlan$", r"\.permutation_importance$"}
# Methods that are there and that nobody looks up here: what scikit-learn generates for the routing
# of metadata, what a tuple has, what the library itself makes plans by.
autosummary_context = {
    "left_out": [
        *("set_fit_request", "set_partial_fit_request", "set_predict_request"),
        *("set_score_request", "get_metadata_routing"),
        *("count", "index", "empty", "from_core", "times"),
        *("with_row", "with_rounded", "with_vector"),
    ]
}

# ---- the gallery ---------------------------------------------------------------------------------

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"\.py$",
    "within_subsection_order": "_extension.ByOrder",
    "doc_module": ("fastbp",),
    "thumbnail_size": (560, 392),
    "backreferences_dir": "api/backreferences",
    "capture_repr": ("_repr_html_",),
    "reset_modules": ("_extension.reset_matplotlib",),
    "abort_on_example_error": True,
    "remove_config_comments": True,
    "write_computation_times": False,
    "min_reported_time": 1e9,  # times belong to a machine, and would change in each build
    "download_all_examples": False,
    "show_signature": False,
}
