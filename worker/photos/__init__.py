"""From a URL or path to a photo's bytes and decoded pixels, whatever the other side sends."""
