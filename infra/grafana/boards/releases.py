"""Which release answers, and how did it get there?"""

from infra.grafana.board import Board, Limit, Panel, Query

BOARD = Board(
    "capstone-releases",
    "Capstone: releases",
    "What is in memory, swaps and refusals, the shadow, evaluations and the gate, retrainings.",
    [
        Panel(
            "In memory",
            "Releases by role, and how many processes hold each.",
            "short",
            [Query("sum by (role, release) (release_info)", "{{role}} {{release}}")],
        ),
        Panel(
            "Champions",
            "Different releases that are champion somewhere. More than one for 5 minutes raises ChampionsDiffer.",
            "short",
            [Query('count(count by (release) (release_info{role="champion"}))', "champions")],
            Limit(2),
            now=True,
        ),
        Panel(
            "Swaps, 1 d",
            "Champions that took the place of another, in each process.",
            "short",
            [Query("sum by (instance) (increase(release_swaps_total[1d]))", "{{instance}}")],
        ),
        Panel(
            "Refused releases, 1 d",
            "Releases that a process could not use. Any raises ReleaseRefused; what is live stays.",
            "short",
            [Query("sum by (instance) (increase(release_refusals_total[1d]))", "{{instance}}")],
            Limit(1),
        ),
        Panel(
            "Shadow, 1 h",
            "What became of the challenger's answers. Empty where CAPSTONE_SHADOW_SHARE is 0.",
            "short",
            [Query("sum by (outcome) (increase(shadow_answers_total[1h]))", "{{outcome}}")],
        ),
        Panel(
            "Open evaluations",
            "Evaluation jobs that are queued or run.",
            "short",
            [Query("max(evaluation_jobs_open)", "open")],
        ),
        Panel(
            "Evaluations ended",
            "Of all time, by how they ended.",
            "short",
            [Query("max by (status) (evaluation_jobs_ended_total)", "{{status}}")],
        ),
        Panel(
            "Verdicts of the gate",
            "Of all time, by whether the release passed.",
            "short",
            [Query("max by (passed) (gate_verdicts_total)", "passed {{passed}}")],
        ),
        Panel(
            "Retrainings",
            "Of all time, by status. RetrainingFailed tells of one that failed.",
            "short",
            [Query("max by (status) (retraining_runs)", "{{status}}")],
        ),
    ],
)
