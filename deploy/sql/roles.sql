-- Who may do what, on PostgreSQL. Run by a superuser after each `unmask db upgrade`; safe to repeat:
--     psql -v ON_ERROR_STOP=1 --single-transaction -f deploy/sql/roles.sql unmask
-- In one transaction: it takes rights away before it gives them, and nobody at work may see the time between.
-- The roles have no password and no login. Give each program and person a login of their own that is a member of one:
--     CREATE ROLE scorer_1 LOGIN PASSWORD '...' IN ROLE unmask_worker;
-- Tables are the owner's; `unmask db upgrade`, `account forget` and `retention run` are run by a member of it.

-- Rather than keep everybody waiting behind it, it waits for a long transaction no longer than this, and fails.
SET LOCAL lock_timeout = '30s';

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['owner', 'uploader', 'worker', 'reviewer', 'policy', 'readonly'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'unmask_' || name) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', 'unmask_' || name);
        END IF;
    END LOOP;
    -- Of those only that are not: it keeps everybody out of a table while it is done.
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tableowner <> 'unmask_owner' LOOP
        EXECUTE format('ALTER TABLE %I OWNER TO unmask_owner', name);
    END LOOP;
    FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = current_schema() LOOP
        EXECUTE format('REVOKE ALL ON %I FROM PUBLIC, unmask_uploader, unmask_worker, unmask_reviewer, '
            'unmask_policy, unmask_readonly', name);
    END LOOP;
END
$$;

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO unmask_owner;
GRANT USAGE ON SCHEMA public TO unmask_uploader, unmask_worker, unmask_reviewer, unmask_policy, unmask_readonly;
GRANT SELECT ON alembic_version, schema_support TO unmask_uploader, unmask_worker, unmask_reviewer, unmask_policy, unmask_readonly;

-- Upload flows put images in line, and see whether an id is taken.
GRANT INSERT (id, account_id, url, policy, next_attempt_at) ON images TO unmask_uploader;
GRANT SELECT (id, account_id, url, policy) ON images TO unmask_uploader;

-- Workers score. They change no threshold, no review, no model, and neither close nor reopen a case.
GRANT SELECT, INSERT ON images, scores, flags, previews TO unmask_worker;
GRANT UPDATE ON images, previews, requests TO unmask_worker;
GRANT SELECT ON model_versions, thresholds, cases, requests TO unmask_worker;
GRANT INSERT (account_id, policy), UPDATE (version, changed_at) ON cases TO unmask_worker;
GRANT SELECT ON promotions, pauses TO unmask_worker;
GRANT SELECT, UPDATE ON rescores TO unmask_worker;
GRANT SELECT, INSERT, UPDATE, DELETE ON locks TO unmask_worker;
GRANT SELECT, INSERT ON looks TO unmask_worker;
GRANT INSERT (kind, image_id, author) ON requests TO unmask_worker;
GRANT SELECT ON looks TO unmask_reviewer, unmask_policy;
-- For metrics: how often people decided which way, and neither who nor why; what was drawn, and judged without scores.
GRANT SELECT (decision) ON reviews TO unmask_worker;
GRANT SELECT ON draws, samples TO unmask_worker;
GRANT SELECT (id, sample_id, verdict) ON verdicts TO unmask_worker;
GRANT SELECT, INSERT ON webhook_switch TO unmask_worker;
GRANT SELECT, UPDATE (state, attempts, reason, next_attempt_at, changed_at) ON deliveries TO unmask_worker;

-- Reviewers decide cases, hear appeals, judge what chance drew, and ask workers for pictures. They write no score, set
-- no threshold and draw no sample.
GRANT SELECT ON images, scores, flags, previews, requests, model_versions, thresholds, cases, reviews, appeals, draws,
    samples, verdicts TO unmask_reviewer;
GRANT INSERT ON reviews, requests, appeals, verdicts TO unmask_reviewer;
GRANT UPDATE (state, version, changed_at, held_by, held_until, second) ON cases TO unmask_reviewer;
GRANT UPDATE (held_by, held_until, judged) ON samples TO unmask_reviewer;
-- Leads see in the console what a threshold would do. To let them set it there, make the console's login a member of
-- unmask_policy as well.
GRANT SELECT ON reference_sets, pauses TO unmask_reviewer;

-- The console's login is a reviewer, too: it knows who may sign in, and writes down what they saw. Nobody's name or role
-- is changed, and nothing that was written down.
GRANT SELECT ON people, sign_ins, sign_in_links, sign_in_tries, audit_log TO unmask_reviewer;
GRANT INSERT ON people, sign_ins, sign_in_links, sign_in_tries, audit_log TO unmask_reviewer;
GRANT UPDATE (password, disabled, changed_at) ON people TO unmask_reviewer;
GRANT UPDATE (seen_at) ON sign_ins TO unmask_reviewer;
GRANT DELETE ON sign_ins, sign_in_links, sign_in_tries TO unmask_reviewer;

-- Policy people set thresholds, say which model scores and stop what must stop. A threshold opens and withdraws cases,
-- and a promotion makes images due again; that they see reviewers' work does not let them do it.
GRANT SELECT ON images, scores, flags, model_versions, thresholds, cases, reviews, promotions, reference_sets, pauses,
    rescores, locks, draws, samples, verdicts TO unmask_policy;
GRANT INSERT ON thresholds, model_versions, promotions, reference_sets, pauses, rescores, flags, draws, samples
    TO unmask_policy;
GRANT INSERT (account_id, policy), UPDATE (state, reason, version, changed_at) ON cases TO unmask_policy;
GRANT UPDATE (state, shadow_since) ON model_versions TO unmask_policy;
GRANT UPDATE (state, changed_at) ON rescores TO unmask_policy;
GRANT UPDATE (state, reason, detail, attempts, losses, sends, next_attempt_at, lease_owner, lease_until, changed_at)
    ON images TO unmask_policy;
GRANT SELECT (id, kind, image_id, state), INSERT (kind, image_id, author) ON requests TO unmask_policy;
GRANT SELECT, UPDATE (state, attempts, next_attempt_at, changed_at) ON deliveries TO unmask_policy;
GRANT SELECT, INSERT, DELETE ON webhook_switch TO unmask_policy;

-- A threshold opens and withdraws cases; it confirms and dismisses none. Only where that is not said yet: saying it keeps
-- everybody away from cases, and would wait for a backup to end. (One that is to say something else gets another name.)
DO $$
BEGIN
    IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = 'cases'::regclass) THEN
        ALTER TABLE cases ENABLE ROW LEVEL SECURITY;
    END IF;
    IF (SELECT count(*) FROM pg_policy WHERE polrelid = 'cases'::regclass) < 4 THEN
        DROP POLICY IF EXISTS others ON cases;
        CREATE POLICY others ON cases TO unmask_worker, unmask_reviewer, unmask_readonly USING (true);
        DROP POLICY IF EXISTS policy_reads ON cases;
        CREATE POLICY policy_reads ON cases FOR SELECT TO unmask_policy USING (true);
        DROP POLICY IF EXISTS policy_opens ON cases;
        CREATE POLICY policy_opens ON cases FOR INSERT TO unmask_policy WITH CHECK (state = 'open');
        DROP POLICY IF EXISTS policy_withdraws ON cases;
        CREATE POLICY policy_withdraws ON cases FOR UPDATE TO unmask_policy USING (state = 'open')
            WITH CHECK (state IN ('open', 'withdrawn'));
    END IF;
END
$$;

-- Dashboards count. They learn neither whose an image is, nor where it is, nor what is in it.
GRANT SELECT ON scores, flags, model_versions, thresholds, draws, samples, verdicts, deliveries TO unmask_readonly;
GRANT SELECT (id, policy, state, reason, attempts, next_attempt_at, lease_owner, lease_until, bytes, width, height,
    created_at, changed_at) ON images TO unmask_readonly;
GRANT SELECT (id, policy, state, version, highest, held_by, held_until, second, created_at, changed_at)
    ON cases TO unmask_readonly;
GRANT SELECT (id, case_id, reviewer, decision, reason, blind, undoes, created_at) ON reviews TO unmask_readonly;
GRANT SELECT (id, case_id, review_id, author, created_at) ON appeals TO unmask_readonly;
GRANT SELECT (id, image_id, kind, created_at) ON previews TO unmask_readonly;
GRANT SELECT (id, kind, image_id, state, author, next_attempt_at, created_at) ON requests TO unmask_readonly;
-- The query by which workers are scaled asks whether scoring is paused.
GRANT SELECT (id, what, paused) ON pauses TO unmask_readonly;

-- Numbers for new rows, for those who may add them. A serial's default needs its sequence; an identity column's does not.
GRANT USAGE ON SEQUENCE thresholds_id_seq, model_versions_id_seq, promotions_id_seq, reference_sets_id_seq, pauses_id_seq,
    rescores_id_seq, draws_id_seq TO unmask_policy;
GRANT USAGE ON SEQUENCE people_id_seq TO unmask_reviewer;

-- Each new flag raises its case's highest score, and each change of a case may be one to tell the platform: in the name of
-- the tables' owner, whoever writes.
ALTER FUNCTION unmask_case_highest() OWNER TO unmask_owner;
ALTER FUNCTION unmask_case_event() OWNER TO unmask_owner;
