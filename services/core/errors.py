"""Every failure a client can see: one small tree, each leaf with an HTTP status and a stable code.

`http.py` renders these as RFC 9457 problem+json. Codes are part of the API: add, never rename.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class CapstoneError(Exception):
    """Base of all expected failures. `detail` is a sentence for the person who sent the request."""

    status = 500
    code = "internal_error"
    title = "Internal error"

    def __init__(self, detail: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.members: dict[str, Any] = {}  # of the problem, besides the usual ones


class InvalidRequest(CapstoneError):
    status, code, title = 422, "invalid_request", "The request is not valid"


class NotFound(CapstoneError):
    status, code, title = 404, "not_found", "Not found"


class Conflict(CapstoneError):
    status, code, title = 409, "conflict", "The resource is not in a state that allows this"


class TooLarge(CapstoneError):
    status, code, title = 413, "too_large", "The request is too large"


class NotAPdf(CapstoneError):
    status, code, title = 415, "not_a_pdf", "The file is not a PDF"


class EmptyFile(InvalidRequest):
    code, title = "empty_file", "The file is empty"


class Overloaded(CapstoneError):
    status, code, title = 429, "overloaded", "Too much work is waiting"


class ClientClosedRequest(CapstoneError):
    """The client hung up; 499 is nginx's code and is seen by logs only."""

    status, code, title = 499, "client_closed_request", "The client closed the connection"


class StorageFull(CapstoneError):
    status, code, title = 507, "storage_full", "There is no space left to keep the file"


class Unavailable(CapstoneError):
    status, code, title = 503, "unavailable", "The service is not ready"


class GeneratorUnavailable(Unavailable):
    """The server that generates is away, busy or broken for now."""

    code, title = "generator_unavailable", "The generator does not answer"


class GeneratorProblem(CapstoneError):
    """The server that generates answers, but not as it should: to try again is in vain."""

    status, code, title = 502, "generator_problem", "The generator cannot be used"


class ModelProblem(CapstoneError):
    """Weights are missing, changed or do not fit together."""

    status, code, title = 503, "model_problem", "A model cannot be used"


class SettingsProblem(CapstoneError):
    """A setting has a value that it cannot have. Never raised in a request: nothing starts."""

    code, title = "settings_problem", "A setting cannot be used"


class InvalidDataset(InvalidRequest):
    """Rows that cannot be asked. `errors` are objects with `row` (the line, from 1), `field` and `message`."""

    code, title = "invalid_dataset", "The dataset is not valid"

    def __init__(self, errors: Sequence[dict[str, Any]]) -> None:
        first = errors[0]
        more = f" There are {len(errors) - 1} more." if len(errors) > 1 else ""
        super().__init__(f"Row {first['row']}, {first['field']}: {first['message']}{more}")
        self.members = {"errors": list(errors[:100])}


class GateNotPassed(Conflict):
    """`verdict` is what the gate said of exactly these two releases, None if they were not judged yet."""

    code, title = "gate_not_passed", "The release has not passed the gate"

    def __init__(self, detail: str, verdict: dict[str, Any] | None) -> None:
        super().__init__(detail)
        self.members = {"verdict": verdict}


class NothingToRollBack(Conflict):
    code, title = "nothing_to_roll_back", "There is no release to go back to"


class ReleaseInProgress(Conflict):
    code, title = "release_in_progress", "Another release is being made live"


class UnknownRelease(NotFound):
    code, title = "unknown_release", "There is no such release"


class ReleaseRefused(Conflict):
    """A release that is damaged, does not fit its bases, or did not pass its smoke test."""

    code, title = "release_refused", "The release cannot be served"


class EmptyWindow(Conflict):
    code, title = "empty_window", "Nothing is captured that could be compared"


class TooFewCaptures(Conflict):
    code, title = "too_few_captures", "Too few answers are captured"


class NoReference(Conflict):
    code, title = "no_reference", "There is no reference to compare with"


class ReferenceOfAnotherRelease(Conflict):
    code, title = "reference_of_another_release", "The reference is of another release"


class NotFinished(Conflict):
    code, title = "not_finished", "The work has not been finished"


class InvalidAlert(InvalidRequest):
    code, title = "invalid_alert", "The notification is not Alertmanager's"


class Unauthorized(CapstoneError):
    """Also told by the header `WWW-Authenticate`."""

    status, code, title = 401, "unauthorized", "The key or token is missing or wrong"


class Forbidden(CapstoneError):
    status, code, title = 403, "forbidden", "The key does not allow this"


class UnknownHost(CapstoneError):
    status, code, title = 403, "unknown_host", "The service is not known by that name"


class OtherSite(CapstoneError):
    status, code, title = 403, "other_site", "The request comes from a page of another site"


class AlertsNotConfigured(CapstoneError):
    status, code, title = 503, "alerts_not_configured", "Alerts are not taken here"


class NotWaiting(Conflict):
    code, title = "not_waiting_approval", "The retraining does not wait for an approval"


class CannotBackUp(Conflict):
    code, title = "cannot_back_up", "The system cannot be backed up as it is"


class BackupDamaged(InvalidRequest):
    """A backup that is not what was written: cut, changed, or with a part too few or too many."""

    code, title = "backup_damaged", "The backup is damaged"


class BackupTooNew(InvalidRequest):
    code, title = "backup_too_new", "The backup was made by a newer version"


class NotEmpty(Conflict):
    code, title = "not_empty", "There is something already where a backup is to be restored"


class RestoreUnfinished(CapstoneError):
    status, code, title = 503, "restore_unfinished", "A restore has not been finished"


class JobProblem(CapstoneError):
    """A job that cannot be done, however often it is tried. Never raised in a request: it becomes the job's error."""

    status, code, title = 422, "job_problem", "The work cannot be done"

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class DocumentProblem(JobProblem):
    """A document that cannot be ingested. Its codes are listed in services/ingest/pdf/sandbox.py."""

    status, code, title = 422, "document_problem", "The document cannot be read"
