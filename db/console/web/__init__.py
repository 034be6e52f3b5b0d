"""Requests and responses: dispatch and authorisation, sign-in, cookies, forms, headers."""
