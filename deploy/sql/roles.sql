-- Who may do what, on PostgreSQL. A superuser runs this after each `unmask db upgrade`; it is safe to repeat:
--     psql -v ON_ERROR_STOP=1 --single-transaction -f deploy/sql/roles.sql unmask
-- Run it in one transaction: it revokes rights before it grants them, and running programs must not see the time
-- between. It changes nothing outside the schema "unmask". (Where UNMASK_DB_SCHEMA names another, write that name here.)
--
-- The roles have no password and no login. Give each program and person its own login, as a member of one role:
--     CREATE ROLE scorer_1 LOGIN PASSWORD '...' IN ROLE unmask_worker;
-- A login of unmask_reviewer is one person's, and has that person's name: it decides and judges under no other.
--     CREATE ROLE "ada" LOGIN PASSWORD '...' IN ROLE unmask_reviewer;
-- unmask_owner owns the tables. A member of it runs `unmask db upgrade`, `account forget` and `retention run`.

SET LOCAL search_path TO unmask, pg_temp;
-- Everybody would wait behind this script, so it waits no longer than this for a long transaction, and then fails.
SET LOCAL lock_timeout = '30s';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['owner', 'uploader', 'api', 'worker', 'reviewer', 'console', 'policy', 'readonly'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'unmask_' || name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', 'unmask_' || name);
        END IF;
    END LOOP;
    -- Only where the owner is another one: ALTER locks everybody out of the table while it runs.
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'unmask'::regnamespace AND relkind IN ('r', 'v')
            AND relowner <> 'unmask_owner'::regrole LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO unmask_owner', name);
    END LOOP;
    -- Some functions run as their owner, whichever role writes: a flag raises its case's highest score, a change of a
    -- case causes a webhook, and an image's bytes go with it.
    FOR name IN SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'unmask'::regnamespace
            AND proowner <> 'unmask_owner'::regrole LOOP
        EXECUTE format('ALTER FUNCTION %s OWNER TO unmask_owner', name);
    END LOOP;
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'unmask'::regnamespace AND relkind IN ('r', 'v') LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, unmask_uploader, unmask_api, unmask_worker, unmask_reviewer, '
            'unmask_console, unmask_policy, unmask_readonly', name);
    END LOOP;
END
$$;

GRANT USAGE, CREATE ON SCHEMA unmask TO unmask_owner;
GRANT USAGE ON SCHEMA unmask TO unmask_uploader, unmask_api, unmask_worker, unmask_reviewer, unmask_console,
    unmask_policy, unmask_readonly;
GRANT SELECT ON alembic_version, schema_support TO unmask_uploader, unmask_api, unmask_worker, unmask_reviewer,
    unmask_console, unmask_policy, unmask_readonly;

-- Upload flows add images, check whether an id is taken, and read the outcome.
GRANT INSERT (id, account_id, url, policy, lane, next_attempt_at) ON images TO unmask_uploader;
GRANT SELECT (id, account_id, url, policy, lane, state) ON images TO unmask_uploader;
GRANT SELECT ON results TO unmask_uploader;
-- They may say what the platform knows of an account, for reviewers to read.
GRANT SELECT (account_id), INSERT (account_id, facts, changed_at), UPDATE (facts, changed_at), DELETE
    ON account_facts TO unmask_uploader, unmask_api;

-- `unmask serve` does so for platforms that speak HTTP. It also takes photos' bytes, changes the URL of an image that
-- has no score, and takes an image back.
GRANT INSERT (id, account_id, url, policy, lane, next_attempt_at) ON images TO unmask_api;
GRANT UPDATE (account_id, url, state, reason, detail, attempts, losses, sends, next_attempt_at, lease_owner, lease_until,
    sha256, changed_at) ON images TO unmask_api;
GRANT SELECT ON images, results, scores, signals, policies, model_versions, thresholds, api_keys, reference_sets
    TO unmask_api;
GRANT SELECT, INSERT, DELETE ON uploads TO unmask_api;
GRANT UPDATE (last_used_at) ON api_keys TO unmask_api;
GRANT SELECT (id, image_id, picture), UPDATE (picture) ON previews TO unmask_api;
GRANT SELECT (id, image_id, state), UPDATE (state, reason, detail) ON requests TO unmask_api;
GRANT SELECT (image_id), DELETE ON looks, projections TO unmask_api;

-- Workers score. They change no threshold, no review and no model, and neither close nor reopen a case. Of an image they
-- change what scoring changes: neither whose it is, nor where it is.
GRANT SELECT ON images, scores, flags, previews, uploads, model_versions, thresholds, policies, cases, requests,
    promotions, pauses, rescores, looks, draws, samples, signals, webhook_switch, deliveries, results, expiries,
    reference_sets TO unmask_worker;
GRANT INSERT (id, account_id, url, policy, lane, next_attempt_at) ON images TO unmask_worker;
GRANT UPDATE (state, reason, detail, attempts, losses, sends, next_attempt_at, lease_owner, lease_until, sha256, bytes,
    width, height, changed_at) ON images TO unmask_worker;
GRANT INSERT ON scores, flags, looks, webhook_switch TO unmask_worker;
GRANT SELECT ON projections TO unmask_worker, unmask_policy;
GRANT INSERT (image_id, version_id, kind, projection) ON projections TO unmask_worker;
-- Workers look whether the blind verdicts still agree with what a threshold promises.
GRANT INSERT (threshold_id, policy, evidence, detail) ON expiries TO unmask_worker, unmask_policy;
GRANT INSERT (image_id, kind, value, place, trust, tail_probability, version_id) ON signals TO unmask_worker;
GRANT INSERT (image_id, kind, picture), UPDATE (picture, created_at) ON previews TO unmask_worker;
GRANT DELETE ON uploads TO unmask_worker;
GRANT INSERT (account_id, policy), UPDATE (version, changed_at, priority, chance, sharing) ON cases TO unmask_worker;
GRANT SELECT (id, case_id, review_id, created_at) ON appeals TO unmask_worker;
GRANT INSERT (kind, image_id, author, reason, detail), UPDATE (state, reason, detail, attempts, next_attempt_at) ON requests
    TO unmask_worker;
GRANT UPDATE (state, next_at, cursor, in_hand, passes, scored, failed, changed_at) ON rescores TO unmask_worker;
GRANT INSERT (image_id, event), UPDATE (state, attempts, reason, next_attempt_at, changed_at) ON deliveries TO unmask_worker;
GRANT DELETE ON webhook_switch TO unmask_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON locks TO unmask_worker;
-- For metrics: how often people decided which way, but not who and why; which samples were judged, and how.
GRANT SELECT (decision) ON reviews TO unmask_worker;
GRANT SELECT (id, sample_id, verdict, undoes) ON verdicts TO unmask_worker;

-- Reviewers decide cases, hear appeals, judge random samples, and ask workers for pictures: in a terminal
-- (unmask_reviewer), or in the console (unmask_console). They write no score, set no threshold and draw no sample.
GRANT SELECT ON images, scores, flags, signals, previews, requests, looks, model_versions, thresholds, policies, cases,
    reviews, appeals, draws, samples, verdicts, reference_sets, pauses, expiries, golden_items, golden_shares, comments,
    restrictions, account_facts, note_templates, picture_defaults, locks TO unmask_reviewer, unmask_console;
GRANT INSERT (case_id, reviewer, decision, reason, note, blind, undoes, batch) ON reviews TO unmask_reviewer, unmask_console;
GRANT INSERT (case_id, review_id, author, reason) ON appeals TO unmask_reviewer, unmask_console;
GRANT INSERT (sample_id, reviewer, verdict, turn, undoes) ON verdicts TO unmask_reviewer, unmask_console;
GRANT INSERT (case_id, author, text) ON comments TO unmask_console;
GRANT INSERT (case_id, author, reason) ON restrictions TO unmask_reviewer, unmask_console;
GRANT INSERT (name, reason, note, author, changed_at), UPDATE (reason, note, author, changed_at), DELETE
    ON note_templates TO unmask_console;
GRANT INSERT (policy, pictures, author, changed_at), UPDATE (pictures, author, changed_at)
    ON picture_defaults TO unmask_console;
GRANT INSERT (kind, image_id, author, reason, detail) ON requests TO unmask_reviewer, unmask_console;
GRANT UPDATE (state, version, changed_at, held_by, held_until, second) ON cases TO unmask_reviewer, unmask_console;
GRANT UPDATE (restricted) ON cases TO unmask_reviewer, unmask_console;
GRANT UPDATE (held_by, held_until, judged) ON samples TO unmask_reviewer, unmask_console;
-- The console ranks new cases where no worker has yet, keeps people's views, and marks golden items for leads.
GRANT UPDATE (priority, chance, sharing) ON cases TO unmask_console;
GRANT SELECT, INSERT, DELETE ON saved_views TO unmask_console;
GRANT INSERT ON golden_items, golden_shares TO unmask_console, unmask_policy;
GRANT SELECT ON golden_items, golden_shares TO unmask_policy;

-- The console alone knows how people sign in, and signs them in. It can change neither a name or role nor what was
-- recorded; a trigger gives a person the role that their groups at the OpenID provider gave their identity. To let leads
-- set thresholds in it, make its login a member of unmask_policy as well.
GRANT SELECT ON people, sign_ins, sign_in_links, sign_in_tries, known_addresses, audit_log, identities
    TO unmask_console;
GRANT INSERT (name, role, password), UPDATE (password, disabled, changed_at) ON people TO unmask_console;
GRANT INSERT (issuer, subject, person_id, role), UPDATE (role) ON identities TO unmask_console;
GRANT INSERT (digest, person_id, expires_at, provider_session), UPDATE (seen_at) ON sign_ins TO unmask_console;
GRANT INSERT (digest, person_id, expires_at) ON sign_in_links TO unmask_console;
GRANT INSERT (name, address) ON sign_in_tries TO unmask_console;
GRANT INSERT (person_id, address), UPDATE (seen_at) ON known_addresses TO unmask_console;
GRANT DELETE ON sign_ins, sign_in_links, sign_in_tries, known_addresses TO unmask_console;

-- Commands look up who gives them, and write that into the audit log. PostgreSQL itself adds the login that wrote an
-- entry, and the time.
GRANT SELECT (id, name, role, disabled) ON people TO unmask_reviewer, unmask_policy;
GRANT INSERT (who, what, case_id, image_id, detail) ON audit_log TO unmask_api, unmask_reviewer, unmask_console,
    unmask_policy;
GRANT SELECT ON audit_log TO unmask_api, unmask_reviewer, unmask_policy;

-- Policy people set thresholds, choose which model scores, pause flagging or scoring, add policies, and make keys for
-- the HTTP door. A threshold opens and withdraws cases, and a promotion makes images due again. Policy people see
-- reviewers' work and cannot do it.
GRANT SELECT ON images, results, scores, flags, signals, looks, model_versions, thresholds, policies, api_keys, cases,
    reviews, promotions, reference_sets, pauses, rescores, locks, draws, samples, verdicts, deliveries, webhook_switch,
    expiries, appeals
    TO unmask_policy;
GRANT INSERT ON thresholds, policies, api_keys, model_versions, promotions, reference_sets, pauses, rescores, flags,
    draws, samples TO unmask_policy;
GRANT INSERT (account_id, policy), UPDATE (state, reason, version, changed_at) ON cases TO unmask_policy;
GRANT UPDATE (weight, max_fpr, keys, signal_actions, stability, target_s, reason) ON policies TO unmask_policy;
GRANT UPDATE (revoked_at) ON api_keys TO unmask_policy;
GRANT UPDATE (state, shadow_since) ON model_versions TO unmask_policy;
GRANT UPDATE (state, changed_at) ON rescores TO unmask_policy;
GRANT UPDATE (state, reason, detail, attempts, losses, sends, next_attempt_at, lease_owner, lease_until, changed_at)
    ON images TO unmask_policy;
GRANT SELECT (id, kind, image_id, state), INSERT (kind, image_id, author, reason, detail) ON requests TO unmask_policy;
GRANT UPDATE (state, attempts, next_attempt_at, changed_at) ON deliveries TO unmask_policy;
GRANT SELECT ON uploads TO unmask_policy; -- for `review export`, which writes decided photos for the next fit
GRANT INSERT, DELETE ON webhook_switch TO unmask_policy;

-- Dashboards count. They learn neither whose image it is, nor where it is, nor what it shows.
GRANT SELECT ON scores, flags, model_versions, thresholds, draws, samples, verdicts, deliveries, expiries TO unmask_readonly;
GRANT SELECT (id, image_id, kind, place, trust, tail_probability, version_id, created_at) ON signals TO unmask_readonly;
GRANT SELECT (id, policy, lane, state, reason, attempts, next_attempt_at, lease_owner, lease_until, bytes, width, height,
    created_at, changed_at) ON images TO unmask_readonly;
GRANT SELECT (id, policy, state, version, highest, priority, chance, sharing, disputed, held_by, held_until, second, created_at,
    changed_at) ON cases TO unmask_readonly;
GRANT SELECT (id, case_id, reviewer, decision, reason, blind, undoes, created_at) ON reviews TO unmask_readonly;
GRANT SELECT (id, case_id, review_id, author, created_at) ON appeals TO unmask_readonly;
GRANT SELECT (id, image_id, kind, created_at) ON previews TO unmask_readonly;
GRANT SELECT (id, kind, image_id, state, author, next_attempt_at, created_at) ON requests TO unmask_readonly;
GRANT SELECT (name, weight, max_fpr, keys, stability, target_s, created_at) ON policies TO unmask_readonly;
-- The query that scales the workers asks whether scoring is paused.
GRANT SELECT (id, what, paused) ON pauses TO unmask_readonly;

-- Sequences, for the roles that may add rows. A serial's default needs its sequence; an identity column does not.
GRANT USAGE ON SEQUENCE thresholds_id_seq, model_versions_id_seq, promotions_id_seq, reference_sets_id_seq, pauses_id_seq,
    rescores_id_seq, draws_id_seq, api_keys_id_seq, golden_shares_id_seq TO unmask_policy;
GRANT USAGE ON SEQUENCE people_id_seq, note_templates_id_seq, saved_views_id_seq, golden_shares_id_seq TO unmask_console;

-- Which rows of these tables each role reads and writes. A threshold opens and withdraws cases; it confirms and dismisses
-- none. A reviewer's own login writes in its own name alone, closes a case only as it has decided it itself, and changes a
-- case that is restricted to leads only if it is a lead's.
-- Policies are created only where they are missing: creating them locks the table, and would wait for a backup to end.
-- Give changed ones another version: those of others are dropped.
DO $$
DECLARE
    version constant text := 'v5_';
    wanted record;
    old record;
BEGIN
    FOR wanted IN SELECT * FROM (VALUES
        ('cases', 'all', 'TO unmask_worker, unmask_console, unmask_readonly USING (true)'),
        ('cases', 'read', 'FOR SELECT TO unmask_reviewer, unmask_policy USING (true)'),
        ('cases', 'decide', 'FOR UPDATE TO unmask_reviewer USING (restricted IS NULL OR EXISTS (SELECT FROM people '
            'WHERE name = session_user AND role = ''lead'' AND NOT disabled)) WITH CHECK ((held_by IS NULL OR '
            'held_by = session_user) AND (state = ''open'' OR EXISTS (SELECT FROM reviews WHERE case_id = cases.id '
            'AND reviewer = session_user AND decision = cases.state)))'),
        ('cases', 'open', 'FOR INSERT TO unmask_policy WITH CHECK (state = ''open'')'),
        ('cases', 'withdraw', 'FOR UPDATE TO unmask_policy USING (state = ''open'') '
            'WITH CHECK (state IN (''open'', ''withdrawn''))'),
        ('reviews', 'read', 'FOR SELECT TO unmask_worker, unmask_reviewer, unmask_console, unmask_policy, '
            'unmask_readonly USING (true)'),
        ('reviews', 'add', 'FOR INSERT TO unmask_console WITH CHECK (true)'),
        ('reviews', 'add_own', 'FOR INSERT TO unmask_reviewer WITH CHECK (reviewer = session_user)'),
        ('appeals', 'read', 'FOR SELECT TO unmask_worker, unmask_reviewer, unmask_console, unmask_policy, '
            'unmask_readonly USING (true)'),
        ('appeals', 'add', 'FOR INSERT TO unmask_console WITH CHECK (true)'),
        ('appeals', 'add_own', 'FOR INSERT TO unmask_reviewer WITH CHECK (author = session_user)'),
        ('restrictions', 'read', 'FOR SELECT TO unmask_reviewer, unmask_console USING (true)'),
        ('restrictions', 'add', 'FOR INSERT TO unmask_console WITH CHECK (true)'),
        ('restrictions', 'add_own', 'FOR INSERT TO unmask_reviewer WITH CHECK (author = session_user)'),
        ('verdicts', 'read', 'FOR SELECT TO unmask_worker, unmask_reviewer, unmask_console, unmask_policy, '
            'unmask_readonly USING (true)'),
        ('verdicts', 'add', 'FOR INSERT TO unmask_console WITH CHECK (true)'),
        ('verdicts', 'add_own', 'FOR INSERT TO unmask_reviewer WITH CHECK (reviewer = session_user AND EXISTS '
            '(SELECT FROM samples WHERE samples.id = sample_id AND held_by = session_user))'),
        ('samples', 'all', 'TO unmask_worker, unmask_console, unmask_policy, unmask_readonly USING (true)'),
        ('samples', 'read', 'FOR SELECT TO unmask_reviewer USING (true)'),
        ('samples', 'hold_own', 'FOR UPDATE TO unmask_reviewer USING (true) WITH CHECK (held_by IS NULL OR '
            'held_by = session_user)'),
        ('audit_log', 'read', 'FOR SELECT TO unmask_console USING (true)'),
        ('audit_log', 'read_own', 'FOR SELECT TO unmask_api, unmask_reviewer, unmask_policy USING (login = session_user)'),
        ('audit_log', 'add', 'FOR INSERT TO unmask_api, unmask_console, unmask_policy WITH CHECK (true)'),
        ('audit_log', 'add_own', 'FOR INSERT TO unmask_reviewer WITH CHECK (who = session_user)')
    ) AS each (on_table, name, rest) LOOP
        FOR old IN SELECT policyname AS name FROM pg_policies WHERE schemaname = 'unmask' AND tablename = wanted.on_table
                AND NOT starts_with(policyname, version) LOOP
            EXECUTE format('DROP POLICY %I ON %I', old.name, wanted.on_table);
        END LOOP;
        IF NOT EXISTS (SELECT FROM pg_policies WHERE schemaname = 'unmask' AND tablename = wanted.on_table
                AND policyname = version || wanted.name) THEN
            EXECUTE format('CREATE POLICY %I ON %I %s', version || wanted.name, wanted.on_table, wanted.rest);
        END IF;
        IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = wanted.on_table::regclass) THEN
            EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', wanted.on_table);
        END IF;
    END LOOP;
END
$$;
