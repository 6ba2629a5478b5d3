"""Where does the time of an answer go?"""

from infra.grafana.board import Board, Limit, Panel, Query, mean, quantiles

BOARD = Board(
    "capstone-generation",
    "Capstone: generation",
    "Queues, stages of an answer, first token and tokens a second, batches of the models.",
    [
        Panel(
            "Duration of an answer",
            "Requests to /v1/answers that were answered. The objective: 95 % within 10 s.",
            "s",
            [
                Query(
                    f"histogram_quantile({q}, sum by (le) (rate(http_request_duration_seconds_bucket"
                    '{route="/v1/answers",status="200"}[5m])))',
                    f"p{q * 100:g}",
                )
                for q in (0.5, 0.95)
            ],
            Limit(10),
        ),
        Panel(
            "Stages of an answer",
            "Mean time of each stage; which one grew says where to look.",
            "s",
            [mean("answer_stage_duration_seconds", "{{stage}}", by="stage")],
        ),
        Panel(
            "Stages of a search",
            "Mean time of each stage of retrieval. Reading passages (rerank) usually takes the most.",
            "s",
            [mean("retrieval_stage_duration_seconds", "{{stage}}", by="stage")],
        ),
        Panel(
            "Time to the first token",
            "From the request to the first token, waiting included; in between the prompt is read.",
            "s",
            quantiles("gen_ai_server_time_to_first_token_seconds"),
        ),
        Panel(
            "Time per output token",
            "After the first one. It doubles if something else takes the processor.",
            "s",
            quantiles("gen_ai_server_time_per_output_token_seconds"),
        ),
        Panel(
            "Duration of a generation",
            "From the request to the last token, waiting included, without search and quotes.",
            "s",
            quantiles("gen_ai_server_request_duration_seconds"),
        ),
        Panel(
            "Tokens a second",
            "Read (input) and written (output).",
            "ops",
            [Query("sum by (gen_ai_token_type) (rate(gen_ai_client_token_usage_sum[5m]))", "{{gen_ai_token_type}}")],
        ),
        Panel(
            "Waiting",
            "Requests that wait for a turn. CAPSTONE_MAX_WAITING_GENERATIONS (8) is the most; then they are refused.",
            "short",
            [Query("sum by (queue) (queue_waiting)", "{{queue}}")],
            Limit(8),
        ),
        Panel(
            "Wait in the queues",
            "95 % of those who got their turn had waited no longer.",
            "s",
            quantiles("queue_wait_seconds", "queue", of=(0.95,)),
        ),
        Panel(
            "Refused",
            "Share of the requests that were refused with 429 in 10 minutes. Above 5 % raises QueueRefusing.",
            "percentunit",
            [Query("job_queue:refused:ratio10m", "{{queue}}")],
            Limit(0.05),
        ),
        Panel(
            "Batches",
            "Mean number of texts that a model is given at once.",
            "short",
            [mean("inference_batch_size", "{{model}}", by="model")],
        ),
        Panel(
            "Index behind the catalog",
            "Committed changes that a view has not applied. Above 0 for 5 minutes raises IndexLagging.",
            "short",
            [Query("index_lag", "{{instance}} {{view}}")],
            Limit(1),
        ),
    ],
)
