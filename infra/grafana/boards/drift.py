"""Is still asked what the release was made for?"""

from infra.grafana.board import Board, Limit, Panel, Query

BOARD = Board(
    "capstone-drift",
    "Capstone: drift",
    "Windows of what is asked, compared with a reference; each test with its score beside its threshold.",
    [
        Panel(
            "Alarm",
            "1: the newest windows have drifted. It raises DriftDetected, which may retrain.",
            "short",
            [Query("max(drift_alarm)", "alarm")],
            Limit(1),
            now=True,
        ),
        Panel(
            "Scores beside their thresholds",
            "A test says drift where its score is above its threshold: above 1 here.",
            "short",
            [Query("max by (test) (drift_score) / max by (test) (drift_threshold)", "{{test}}")],
            Limit(1),
        ),
        Panel(
            "Scores",
            "As each test gives them; the units differ, so compare each with its own past only.",
            "short",
            [Query("max by (test) (drift_score)", "{{test}}")],
        ),
        Panel(
            "Windows judged, 1 d",
            "By verdict, drift or steady. None at all means that too little is asked, or that nobody judges.",
            "short",
            [Query("sum by (verdict) (increase(drift_windows_total[1d]))", "{{verdict}}")],
        ),
        Panel(
            "Age of the newest window",
            "The older, the less the alarm says about today.",
            "s",
            [Query("min(drift_last_window_age_seconds)", "age")],
        ),
        Panel(
            "Rows of the reference",
            "What windows are compared with. Few rows make a weak test.",
            "short",
            [Query("max(drift_reference_rows)", "rows")],
            now=True,
        ),
    ],
)
