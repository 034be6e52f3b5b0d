"""Enqueues a photo and stores it in one transaction: ``python upload.py PATH IMAGE_ID SCHEMA``. Prints what it saw."""

import json
import sys
from contextlib import suppress

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from unmask_client import enqueue, result

import db
import worker

path, image_id, schema = sys.argv[1:]
with suppress(IntegrityError), Session(db.engine) as session, session.begin():
    enqueue(session, account_id="ada", url=worker.thumbnail(path), image_id=image_id, schema=schema)
    session.add(db.Image(path=path))  # the application's own rule: a path is stored once

with Session(db.engine) as session:
    seen = {
        "result": result(session, image_id, schema=schema),
        "modules": sorted(getattr(module, "__file__", None) or "" for module in sys.modules.values()),
    }
sys.stdout.write(json.dumps(seen))
