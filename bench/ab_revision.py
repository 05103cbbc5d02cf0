"""The other side of `ab.py`: a revision of this repository, unpacked and built.

`git archive` and not `git worktree`: git keeps no record of the directory, so that it may be
deleted at any time.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ("csrc", "src", "setup.py", "pyproject.toml")
NEEDED = ("setup.py", "bench/cases.py", "bench/peers.py", "bench/worker.py")


class RevisionError(RuntimeError):
    """Why there is nothing to compare with, in words for the user."""


def _git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RevisionError(done.stderr.strip())
    return done.stdout.strip()


def _unpack(commit, root):
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, check=True, capture_output=True)
    subprocess.run(["tar", "-x", "-C", str(root)], input=archive.stdout, check=True)


def resolve(revision):
    """Find a revision.

    Returns
    -------
    str
        Its short hash.

    Raises
    ------
    RevisionError
        If git knows no such commit.
    """
    try:
        name = f"{revision}^{{commit}}"
        full = _git("rev-parse", "--verify", "--quiet", "--end-of-options", name)
    except RevisionError as error:
        why = str(error) or "git knows no such commit"
        raise RevisionError(f"{revision} cannot be compared with: {why}") from None
    return _git("rev-parse", "--short", full)


def build(commit):
    """Unpack a commit into build/ab/ and build it there, unless that is done already.

    Parameters
    ----------
    commit : str
        Short hash.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    RevisionError
        If it cannot be compared or does not build.
    """
    root = ROOT / "build" / "ab" / commit
    # A build is for one Python and by one compiler.
    kind = f"{sysconfig.get_config_var('EXT_SUFFIX')} {os.environ.get('CC', 'cc')}\n"
    built = root / ".built"
    if built.exists() and built.read_text() == kind:
        return root
    _unpack(commit, root)
    missing = [name for name in NEEDED if not (root / name).exists()]
    if missing:
        raise RevisionError(f"{commit} is too old to compare with: it has no {', '.join(missing)}")
    print(f"building {commit} in build/ab/{commit}: some minutes, once", flush=True)
    log = root / "build.log"
    with open(log, "w") as output:
        command = [sys.executable, "setup.py", "build_ext", "--inplace"]
        done = subprocess.run(command, cwd=root, stdout=output, stderr=subprocess.STDOUT)
    if done.returncode:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise RevisionError(f"{commit} does not build; the end of {log.relative_to(ROOT)}:\n{last}")
    built.write_text(kind)
    return root


def _compilers(root):
    # Those that the compiled core names.
    folder = root / "src" / "fastbp"
    core = max(folder.glob("_core.*.so"), key=lambda path: path.stat().st_mtime)
    content = core.read_bytes()
    named = re.findall(rb"GCC: \([^\0]*|clang version [^\0]*", content)
    return sorted({name.decode(errors="replace") for name in named})


def describe_sides(commit, roots):
    """Say what is compared, for people and for the record.

    Parameters
    ----------
    commit : str
        Of the old side.
    roots : dict of Path
        The trees ``old`` and ``new``.

    Returns
    -------
    dict
        ``old`` and ``new``; ``same_source``, whether the package has the same sources in both;
        ``compilers`` of both.
    """
    return {
        "old": {"commit": commit, "title": _git("log", "-1", "--format=%s", commit)},
        "new": {
            "commit": _git("rev-parse", "--short", "HEAD"),
            "changed": bool(_git("status", "--porcelain", "--untracked-files=no")),
        },
        "same_source": not _git("diff", "--name-only", commit, "--", *PACKAGE),
        "compilers": {side: _compilers(root) for side, root in roots.items()},
    }
