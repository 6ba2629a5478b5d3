"""`python -m services.core.migrate`: brings the catalog's schema to the newest revision and ends.

Every service does the same when it starts. Where many start at once, this comes first, so that a migration that fails
is told once, before anything of a new version serves.
"""

from __future__ import annotations

from contextlib import closing

from services.core.catalog import Catalog
from services.core.settings import load_settings

if __name__ == "__main__":
    with closing(Catalog(load_settings().catalog_url)) as catalog:
        catalog.migrate()
