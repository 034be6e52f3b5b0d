"""The codes that say why an image has no score, and the state that each leads to.

For a reason in `UNUSABLE` the image becomes unusable: the photo is at fault, and an operator cannot repair it. For any
other reason it fails: this software, its configuration or the photo's host is at fault, and an operator must look.
"""

#: The photo is broken, or outside the detector's domain. Only a crafted picture makes a decoder die.
UNUSABLE = frozenset(
    {
        *("animated", "corrupt", "decoder_killed", "decoder_memory", "decoder_timeout", "empty", "erased"),
        *("metadata_too_large", "not_an_image", "side_too_long", "side_too_short", "too_elongated", "too_many_bytes"),
        *("too_many_parts", "too_many_pixels", "too_many_scans", "too_small", "truncated", "unsupported_format"),
    }
)
#: This software, its configuration or the photo's host is at fault.
FAILED = frozenset(
    {
        *(
            "access_denied",
            "address_not_allowed",
            "changed",
            "connection",
            "content_encoding",
            "content_length",
            "decoder_busy",
        ),
        *("host_not_allowed", "http_not_allowed"),
        *("http_status", "internal_error", "name_not_resolved", "not_explained", "not_found", "odd_row"),
        *(
            "out_of_memory",
            "path_not_allowed",
            "timeout",
            "too_many_redirects",
            "unreadable",
            "upload_gone",
            "url_not_supported",
        ),
        "worker_lost",
    }
)
REASONS = UNUSABLE | FAILED


def outcome_of(reason: str) -> str:
    """The final state of an image without a score for this reason."""
    return "unusable" if reason in UNUSABLE else "failed"
