"""A link to the lines of code that do something: {source}`models.positions.rotate`."""

import importlib
import inspect
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxRole

logger = logging.getLogger(__name__)


class SourceLink(nodes.Inline, nodes.TextElement):
    """A link that is resolved when the page of its module is known."""


class SourceRole(SphinxRole):
    """Check that the object exists, and name its module and its name there."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the link, or its text alone with a warning if there is no such object."""
        label = nodes.literal(self.text, self.text.split(".", 1)[1])
        try:
            module, name = find(self.text)
        except (ImportError, AttributeError) as error:
            logger.warning("no such code: %s (%s)", self.text, error, location=self.get_location())
            return [label], []
        return [SourceLink("", "", label, module=module, name=name)], []


def find(path: str) -> tuple[str, str]:
    """Return the module in which an object is defined, and its name there.

    Raises ImportError or AttributeError if there is none.
    """
    module, names = _import(path)
    found: Any = module
    for name in names:
        found = (
            inspect.getattr_static(found, name) if inspect.isclass(found) else getattr(found, name)
        )
    inner = inspect.unwrap(found) if callable(found) else found
    return getattr(inner, "__module__", None) or module.__name__, ".".join(names)


def _import(path: str) -> tuple[ModuleType, list[str]]:
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            return importlib.import_module(".".join(parts[:cut])), parts[cut:]
        except ModuleNotFoundError:
            continue
    raise ImportError(f"no module {parts[0]}")


def resolve(app: Sphinx, tree: nodes.document, page: str) -> None:
    """Turn the links into references to the pages that sphinx.ext.viewcode makes."""
    for link in tree.findall(SourceLink):
        module, name = link["module"], link["name"]
        target = f"_modules/{module.replace('.', '/')}"
        if module not in app.env.domains.python_domain.modules:
            logger.warning("%s has no page in the reference", module, location=link)
            link.replace_self(link.children)
            continue
        uri = f"{app.builder.get_relative_uri(page, target)}#{name}"
        link.replace_self(nodes.reference("", "", *link.children, refuri=uri, internal=True))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the role."""
    app.add_role("source", SourceRole())
    app.add_node(SourceLink)
    app.connect("doctree-resolved", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
