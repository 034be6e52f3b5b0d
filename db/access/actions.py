"""What the codes of the audit log mean, in words for people: one table for the console's page and its filters."""

#: By code, in alphabetical order; every code that anything writes is here.
WORDS = {
    "appealed": "entered an appeal",
    "asked_heatmap": "requested a heatmap",
    "asked_original": "requested the photo at its own size",
    "asked_photo": "requested a photo",
    "changed_pictures": "changed how pictures are shown",
    "changed_template": "changed a template",
    "command": "ran a command",
    "commented": "wrote a comment",
    "compared": "compared with another photo",
    "decided": "decided a case",
    "exported": "downloaded records",
    "golden_added": "added a golden item",
    "golden_share": "changed the share of golden items",
    "identity_linked": "linked an OpenID identity",
    "judged_sample": "judged a sample",
    "left": "left a case",
    "left_sample": "left a sample",
    "link_made": "made a sign-in link",
    "listed": "opened the queue",
    "password_set": "set a password",
    "person_added": "added a person",
    "person_disabled": "disabled a person",
    "person_enabled": "enabled a person",
    "policy_set": "changed a policy",
    "prefetched": "loaded a case ahead",
    "prefetched_heatmap": "loaded a heatmap ahead",
    "prefetched_original": "loaded a photo at its own size ahead",
    "prefetched_photo": "loaded a photo ahead",
    "previewed_batch": "opened several cases to decide together",
    "read_audit_log": "read the audit log",
    "read_figures": "read a reviewer's figures",
    "refused": "was refused",
    "restricted": "changed who may handle a case",
    "role_changed": "changed a role",
    "saw_heatmap": "saw a heatmap",
    "saw_original": "saw the photo at its own size",
    "saw_photo": "saw a photo",
    "searched": "searched",
    "set_facts": "set the facts about an account",
    "sign_in_failed": "failed to sign in",
    "signed_in": "signed in",
    "signed_out": "signed out",
    "taken_back": "withdrew a photo",
    "threshold_set": "set a threshold",
    "took": "began to work on a case",
    "undone": "undid a decision",
    "undone_sample": "undid a verdict",
    "url_changed": "changed a photo's URL",
    "view_deleted": "deleted a view",
    "view_saved": "saved a view",
    "viewed": "opened a case",
    "viewed_sample": "opened a sample",
}


def in_words(code: str) -> str:
    """The action in words; a code that this release does not know without its underscores."""
    return WORDS.get(code, code.replace("_", " "))


def code_of(text: str) -> str:
    """The code that somebody entered, as it is or in words."""
    wanted = text.strip().lower()
    return next((code for code, words in WORDS.items() if words == wanted), wanted.replace(" ", "_"))
