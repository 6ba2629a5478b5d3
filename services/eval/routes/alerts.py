"""/v1/alerts: Alertmanager's webhook."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request

from services.core.http import JSON_BODY_MAX_BYTES
from services.eval.alerts import Notification
from services.eval.resources import EvalResources, resources_of
from services.eval.retrain_schemas import AlertsOut

router = APIRouter(prefix="/v1/alerts", max_body_size=JSON_BODY_MAX_BYTES)
Resources = Annotated[EvalResources, Depends(resources_of)]


def authorized(resources: Resources, authorization: Annotated[str | None, Header()] = None) -> None:
    resources.alerts.check(authorization)


async def raw_body(request: Request) -> bytes:
    """Not parsed by the framework: whoever has no token is told so, whatever they send."""
    return await request.body()


_BODY = {"required": True, "content": {"application/json": {"schema": Notification.model_json_schema()}}}


# No key is asked for, and none would be taken: the token is all that Alertmanager has. core/guard.py lets it pass.
@router.post("", dependencies=[Depends(authorized)], openapi_extra={"requestBody": _BODY})
def receive_alerts(resources: Resources, body: Annotated[bytes, Depends(raw_body)]) -> AlertsOut:
    """Take a notification of Alertmanager (webhook, version 4). A firing alert with the label `loop="retrain"` freezes
    the data and opens a retraining run, unless one is open, has just been, or enough were opened today.

    `outcome` says what became of each. 401 `unauthorized` without the token, 503 `alerts_not_configured` where none is
    set, 422 `invalid_alert` for anything else than a notification.
    """
    return AlertsOut.of(resources.alerts.receive(body))
