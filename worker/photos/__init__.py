"""From a URL or path to decoded pixels, whatever the other side sends."""
