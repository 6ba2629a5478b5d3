"""Do documents get in?"""

from infra.grafana.board import Board, Limit, Panel, Query

BOARD = Board(
    "capstone-ingest",
    "Capstone: ingest",
    "The queue of jobs, its age, pages, failures by reason, and what is there to be searched.",
    [
        Panel(
            "Open jobs",
            "Ingest jobs that are queued or run.",
            "short",
            [Query("max by (job) (ingest_jobs_open)", "{{job}}")],
        ),
        Panel(
            "Age of the oldest open job",
            "The objective: never more than 10 minutes. With no page ingested meanwhile it raises IngestStuck.",
            "s",
            [Query("max by (job) (ingest_job_oldest_age_seconds)", "{{job}}")],
            Limit(600),
        ),
        Panel(
            "Pages",
            "Pages a second of documents that became searchable; all pages of one count at its end.",
            "ops",
            [Query("sum by (job) (rate(ingest_pages_total[5m]))", "{{job}}")],
        ),
        Panel(
            "Jobs ended, 1 h",
            "By how they ended.",
            "short",
            [Query("sum by (status) (increase(ingest_jobs_ended_total[1h]))", "{{status}}")],
        ),
        Panel(
            "Failed, 1 h",
            "Share of the jobs of an hour that failed. Above 20 % of at least five raises IngestFailing.",
            "percentunit",
            [Query("job:ingest_failed:ratio1h", "{{job}}")],
            Limit(0.2),
        ),
        Panel(
            "Failures by reason, 1 d",
            "Stable codes; the document's job says the same in words.",
            "short",
            [Query("sum by (code) (increase(ingest_failures_total[1d]))", "{{code}}")],
        ),
        Panel(
            "Documents",
            "Documents in the catalog, in whatever state.",
            "short",
            [Query("max by (job) (ingest_documents)", "{{job}}")],
            now=True,
        ),
        Panel(
            "Indexed chunks",
            "Rows of each process's indexes; all should agree.",
            "short",
            [Query("index_rows", "{{instance}} {{view}}")],
        ),
        Panel(
            "Fresh",
            "Share of the last day in which nothing had waited for more than 10 minutes. The objective: 99 %.",
            "percentunit",
            [Query("avg_over_time(slo:ingest_fresh:bool[1d])", "fresh")],
            Limit(0.99, low=True),
            now=True,
        ),
    ],
)
