"""Signing in at an OpenID provider: settings, requests to it, checks of its tokens, and the pages."""
