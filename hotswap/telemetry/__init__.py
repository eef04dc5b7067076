"""Telemetry: what rollouts do and what is live, as spans and metrics.

`hotswap.telemetry.otel` speaks to OpenTelemetry (extra ``otel``), `hotswap.telemetry.prometheus` to a registry of
prometheus_client (extra ``prometheus``). `import hotswap` imports neither: whoever wants one, imports it.
"""
