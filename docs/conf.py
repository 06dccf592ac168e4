"""The documentation site: `make docs` builds it into docs/_build/html, without a network."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS / "extensions"), str(DOCS.parent)]

project = "gpt-zoo"
author = "the gpt-zoo authors"
project_copyright = "the gpt-zoo authors"
release = version = installed_version("gpt-zoo")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    # in docs/extensions/
    "docstrings",
    "generated",
    "mathml",
    "source_links",
]
root_doc = "index"
# families.md is the models' pages in one file, for readers of the repository.
exclude_patterns = ["_build", "families.md"]

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "special-members": "__call__",
}
autodoc_class_signature = "separated"
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
viewcode_line_numbers = True

html_theme = "sphinx_book_theme"
html_title = "gpt-zoo"
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],
}
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["zoo.css"]
