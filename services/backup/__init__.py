"""The whole system in one folder, and back: catalog, uploaded files, and the releases of the model registry.

A backup is made while everything serves. It is the state of one moment: the catalog is read in one snapshot, the
registry while no release can be promoted, and files are never changed once they are there. Indexes are not in it: they
are rebuilt from the catalog, without embedding anything again.

catalog.db               every table, as a SQLite database, whatever the catalog is kept in
files/<document>.pdf     what was uploaded
registry/versions.json   versions and aliases of `capstone` in MLflow; registry/<version>/release has their files
backup.json              what is in it: `form.Facts`
SHA256SUMS               of every file above, written last; `sha256sum --check SHA256SUMS` reads it
"""
