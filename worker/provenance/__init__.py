"""What a photo's file says of its origin: C2PA manifests, source types, traces of generators, cameras."""
