"""Do the services run, and do they keep what they promise?"""

from infra.grafana.board import Board, Limit, Panel, Query, quantiles

BOARD = Board(
    "capstone-health",
    "Capstone: service health",
    "Who is up, how fast and with how many errors, and how much of each error budget is being used.",
    [
        Panel(
            "Up",
            "1: Prometheus reaches the service. 0 for a minute raises ServiceDown.",
            "short",
            [Query('up{app="capstone"}', "{{job}} {{instance}}")],
            Limit(1, low=True),
            now=True,
        ),
        Panel(
            "Probes that say not ready",
            "Share of the requests to /readyz that failed. Empty where nobody asks. Above half raises ServiceNotReady.",
            "percentunit",
            [Query("instance:not_ready:ratio5m", "{{job}} {{instance}}")],
            Limit(0.5),
        ),
        Panel(
            "Catalog",
            "1: a service reads the catalog. 0 for 2 minutes raises CatalogUnreachable.",
            "short",
            [Query("min by (job, room) (catalog_up)", "{{job}} {{room}}")],
            Limit(1, low=True),
            now=True,
        ),
        Panel(
            "Version",
            "What each process runs; two versions of one service beside each other mean a deployment that goes on.",
            "short",
            [
                Query(
                    "sum by (service, version, git_commit) (capstone_build_info)",
                    "{{service}} {{version}} {{git_commit}}",
                )
            ],
            now=True,
        ),
        Panel(
            "Requests",
            "Requests answered a second, by service. The probes and the metrics are among them.",
            "reqps",
            [Query("sum by (job) (rate(http_requests_total[5m]))", "{{job}}")],
        ),
        Panel(
            "Server errors",
            "Share of all requests that ended in a 5xx.",
            "percentunit",
            [Query("job:http_errors:ratio5m", "{{job}}")],
            Limit(0.005),
        ),
        Panel(
            "Requests in work",
            "Requests that have not been answered yet, streams included.",
            "short",
            [Query("sum by (job) (http_requests_in_progress)", "{{job}}")],
        ),
        Panel(
            "Duration by route",
            "95 % of the requests of a route are done within this. Streams count to their end.",
            "s",
            quantiles("http_request_duration_seconds", "route", of=(0.95,)),
            Limit(10),
        ),
        Panel(
            "Problems by code",
            "Answers with a problem, by its stable code. A code that is new here is worth a look.",
            "ops",
            [Query("sum by (code) (rate(problems_total[5m]))", "{{code}}")],
        ),
        Panel(
            "Memory",
            "Resident memory of each process that is scraped; workers are processes of their own and not among them.",
            "bytes",
            [Query('process_resident_memory_bytes{app="capstone"}', "{{job}} {{instance}}")],
        ),
        Panel(
            "Pace of the error budgets, 1 h",
            "1: the budget would last exactly its 30 days. 14.4 raises ErrorBudgetBurn1h, if the last 5 minutes agree.",
            "short",
            [Query("slo:bad:ratio1h / on (slo) slo:budget:ratio", "{{slo}}")],
            Limit(14.4),
        ),
        Panel(
            "Pace of the error budgets, 3 d",
            "Above 1 for long, the objective will be missed; ErrorBudgetBurn3d says so.",
            "short",
            [Query("slo:bad:ratio3d / on (slo) slo:budget:ratio", "{{slo}}")],
            Limit(1),
        ),
        Panel(
            "Alerts",
            "Alerts that fire now. docs/runbook.md has a section for each.",
            "short",
            [Query('count by (alertname, severity) (ALERTS{alertstate="firing"}) or vector(0)', "{{alertname}}")],
            Limit(1),
            now=True,
        ),
    ],
)
