"""Looks for what the site would fetch from elsewhere: python docs/_offline.py FOLDER"""

import sys
from html.parser import HTMLParser
from pathlib import Path

# What a browser fetches by itself; a link that a reader may follow is none of it.
FETCHED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
FETCHED_LINKS = {"stylesheet", "icon", "preload", "modulepreload", "preconnect", "dns-prefetch"}


def is_elsewhere(address):
    return address.startswith(("http:", "https:", "//"))


class Fetched(HTMLParser):
    """The addresses elsewhere that a page fetches."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        address = attributes.get(FETCHED.get(tag, "")) or ""
        if tag == "link" and FETCHED_LINKS & set((attributes.get("rel") or "").split()):
            address = attributes.get("href") or ""
        if is_elsewhere(address):
            self.found.append(address)


def fetched_from_elsewhere(page):
    parser = Fetched()
    parser.feed(page.read_text())
    return parser.found


def is_remote(style):
    text = style.replace(" ", "").replace('"', "").replace("'", "")
    return any(
        f"{start}{scheme}" in text for start in ("url(", "@import") for scheme in ("http", "//")
    )


def main(folder):
    pages = sorted(Path(folder).rglob("*.html"))
    found = [(page, address) for page in pages for address in fetched_from_elsewhere(page)]
    styles = Path(folder).rglob("*.css")
    found += [(style, "by @import or url()") for style in styles if is_remote(style.read_text())]
    for page, address in found:
        print(f"{page} fetches {address}: the site is to be read offline", file=sys.stderr)
    print(f"{len(pages)} pages, {len(found)} fetches from elsewhere")
    return 1 if found or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
