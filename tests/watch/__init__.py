"""The expressions of rules and dashboards, asked of a Prometheus that scrapes the running platform."""
