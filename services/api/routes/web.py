"""/: a web page that asks and shows the cited pages. It is open to everybody, as /docs is; what it asks for is not."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from services.core.errors import NotFound

FOLDER = Path(__file__).parent.parent / "web"
PARTS = ("app.js", "style.css")
HEADERS = {
    # Nothing from elsewhere, nothing written into the page; pictures of pages are blobs that the script has fetched.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",  # asked for again each time, sent again if it has changed
}

router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    return FileResponse(FOLDER / "index.html", headers=HEADERS)


@router.get("/web/{name}")
async def part(name: str) -> FileResponse:
    if name not in PARTS:
        raise NotFound(f"The page has no part {name!r}.")
    return FileResponse(FOLDER / name, headers=HEADERS)
