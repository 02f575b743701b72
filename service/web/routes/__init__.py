"""The addresses of the pages; each route parses, asks the parts, and renders."""

from __future__ import annotations

from service.web.routes import assets, compare, jobs, new, session, start

PAGES = tuple(module.router for module in (assets, session, start, new, jobs, compare))
