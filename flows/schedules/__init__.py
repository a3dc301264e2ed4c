"""Scheduled nights: deployments in Prefect, the flow of one night, the worker that runs them."""
