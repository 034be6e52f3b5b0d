"""What Prometheus reads: collectors over the record, the state of this process, the endpoint."""
