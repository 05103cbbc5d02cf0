"""What Sphinx does not do by itself: links of the repository, docstrings, order of the gallery."""

import os.path
import re
import tomllib
from pathlib import Path

import fastbp

ROOT = Path(__file__).resolve().parents[1]

# ---- links: as the repository has them, and as the site does -------------------------------------

# Pages of the site that stand elsewhere in the repository.
PAGES = {
    "README.md": "/index.md",
    "CONTRIBUTING.md": "/contributing.md",
    "CHANGELOG.md": "/changelog.md",
    "examples": "/auto_examples/index.rst",
}
FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#:\s]+)(#[^)\s]*)?\)")


def repository():
    """Address of the folder of the sources, or None where pyproject.toml does not name it."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    address = urls.get("Source") or urls.get("Repository") or urls.get("Homepage")
    return address and f"{address.rstrip('/')}/blob/main"


def link_of_site(text, path, anchor):
    """A Markdown link to a file of the repository, as a link of the site."""
    if path.startswith("docs/"):
        return f"[{text}](/{path.removeprefix('docs/')}{anchor})"
    example = re.fullmatch(r"examples/(\w+)\.py", path)
    page = f"/auto_examples/{example[1]}.rst" if example else PAGES.get(path)
    if page:
        return f"[{text}]({page}{anchor})"
    return f"[{text}]({repository()}/{path}{anchor})" if repository() else text


def site_links(markdown, folder):
    """The text of a page in a folder of the repository, with the links that the site has.

    Examples
    --------
    >>> site_links("[a](../examples/dropout.py), [b](features.md#tables)", "docs")
    '[a](/auto_examples/dropout.rst), [b](/features.md#tables)'
    """

    def replaced(link):
        picture, text, target, anchor = link.groups(default="")
        path = os.path.normpath(os.path.join(folder, target)).replace(os.sep, "/")
        if picture:
            return f"![{text}](/{os.path.relpath(path, 'docs').replace(os.sep, '/')})"
        return link_of_site(text, path, anchor)

    parts = FENCE.split(markdown)
    parts[::2] = [LINK.sub(replaced, part) for part in parts[::2]]
    return "".join(parts)


def on_page(app, docname, source):
    page = Path(app.env.doc2path(docname))
    if page.suffix == ".md":
        source[0] = site_links(source[0], page.parent.relative_to(ROOT).as_posix())


def on_include(app, path, docname, source):
    page = (Path(app.srcdir) / path).resolve()
    if page.suffix == ".md":
        source[0] = site_links(source[0], page.parent.relative_to(ROOT).as_posix())


# ---- docstrings ----------------------------------------------------------------------------------

PUBLIC = "|".join(name for name in fastbp.__all__ if name != "__version__")
NAMES = re.compile(rf"(?<![`:\w])`((?:{PUBLIC})(?:\.\w+)?)`(?!`)")
# What scikit-learn's docstrings have for its own site: sentences that lead elsewhere in it, its own
# versions, and other cross-references, of which the text stays.
POINTER = re.compile(
    r" ?(?:Read\s+more\s+in\s+the|See)\s+:(?:ref|term):`[^`]*`(?:\s+for\s+(?:more\s+)?details)?\."
)
VERSION = re.compile(r"^ *\.\. version(?:added|changed)::.*$", re.MULTILINE)
FOREIGN = re.compile(r":(?:ref|term|user_guide|doc|doi):`([^`<]*?)\s*(?:<[^>]*>)?`")
# Formulas would need a script from elsewhere.
FORMULA = re.compile(r":math:(`[^`]*`)")
# "D. Misra" after the number of a reference would begin a list, A to D.
INITIAL = re.compile(r"^( *\.\. \[[\w-]+\] [A-Z])\.", re.MULTILINE)

# A summary is also a line of a table, in which a citation has no number.
CITED = re.compile(r"\A(\n*[^\n]*?) (\[[\w-]+\]_)\.\n")


def on_docstring(app, what, name, obj, options, lines):
    """Public names become links; what is meant for scikit-learn's site goes."""
    text = "\n".join(lines)
    for pattern, instead in (
        (CITED, r"\1.\n\nSee \2.\n"),
        (POINTER, ""),
        (VERSION, ""),
        (FOREIGN, r"\1"),
        (FORMULA, r"`\1`"),
        (INITIAL, r"\1\\."),
        (NAMES, r":py:obj:`\1 <fastbp.\1>`"),
    ):
        text = pattern.sub(instead, text)
    lines[:] = text.split("\n")


# ---- the gallery ---------------------------------------------------------------------------------

# From what everybody needs to what few do; a script that is not listed comes last.
ORDER = (
    *("grid_search", "early_stopping", "activations", "dropout", "schedules", "callbacks"),
    *("class_weight", "label_smoothing", "robust_regression", "intervals"),
    *("counts_and_durations", "own_loss", "tabular", "memory_plan", "optimizers"),
    *("own_training_loop", "saving", "saliency", "differential_equation", "two_networks"),
)


class ByOrder:
    """The sort key of a script, made by sphinx-gallery for a folder of scripts."""

    def __init__(self, folder):
        pass

    def __call__(self, file_name):
        name = Path(file_name).stem
        return ORDER.index(name) if name in ORDER else len(ORDER)


def reset_matplotlib(gallery_conf, file_name):
    import matplotlib

    matplotlib.rcdefaults()
    matplotlib.use("Agg")


def setup(app):
    app.connect("source-read", on_page)
    app.connect("include-read", on_include)
    app.connect("autodoc-process-docstring", on_docstring, priority=900)  # after numpydoc
    return {"parallel_read_safe": True}
