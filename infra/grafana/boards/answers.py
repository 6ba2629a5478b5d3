"""Are the answers any good?"""

from infra.grafana.board import Board, Limit, Panel, Query, mean, quantiles

BOARD = Board(
    "capstone-answers",
    "Capstone: answer quality",
    "What becomes of questions: generated, extractive or abstained; with which evidence; what readers say of it.",
    [
        Panel(
            "Answers by mode",
            "generated: the model's words, held by quotes. extractive: the document's own. abstained: no evidence.",
            "ops",
            [Query("sum by (mode) (rate(answers_total[5m]))", "{{mode}}")],
        ),
        Panel(
            "Abstentions, 1 h",
            "Share of the answers of an hour that abstained. Above 60 % raises AnswersAbstaining.",
            "percentunit",
            [Query("job:answers_abstained:ratio1h", "{{job}}")],
            Limit(0.6),
        ),
        Panel(
            "Unverified quotes, 1 h",
            "Share of the quotes that are not on their page and were withheld. Any raises QuotesUnverified.",
            "percentunit",
            [Query("job:quotes_unverified:ratio1h", "{{job}}")],
            Limit(0.0001),
        ),
        Panel(
            "Citations an answer",
            "Mean number of citations. It falls to 0 where all abstain.",
            "short",
            [mean("answer_citations", "citations")],
        ),
        Panel(
            "Score of the best passage",
            "Cosine between question and best passage: falls if the documents are about something else than is asked.",
            "short",
            quantiles("retrieval_top_score", of=(0.1, 0.5, 0.9), window="30m"),
        ),
        Panel(
            "Sufficiency of the best passage",
            "The classifier's probability that the best passage answers. Abstention is decided from it.",
            "percentunit",
            quantiles("retrieval_top_sufficiency", of=(0.1, 0.5, 0.9), window="30m"),
        ),
        Panel(
            "Negative feedback, 1 d",
            "Share of the feedback of a day that was negative. Above 30 % raises AnswerQualityLow, which may retrain.",
            "percentunit",
            [Query("job:feedback_negative:ratio1d", "{{job}}")],
            Limit(0.3),
        ),
        Panel(
            "Feedback",
            "Feedback of readers in an hour, by kind.",
            "short",
            [Query("sum by (kind) (increase(feedback_total[1h]))", "{{kind}}")],
        ),
        Panel(
            "Alerts received",
            "Alerts that came back to the eval service, by what it made of them.",
            "short",
            [Query("sum by (outcome) (increase(alerts_received_total[1d]))", "{{outcome}}")],
        ),
    ],
)
