-- What transactions over several shards need on every shard. Made by `pgherd init`.
--
-- `decision` is where the anchor's commit says what was decided; `marker` is written by each
-- other participant in its own transaction and so proves that it has committed. Nobody has
-- rights on the tables themselves. The functions act for roles that their caller is a member of,
-- so nobody can decide for somebody else, although anybody can read the names of prepared
-- transactions.

CREATE SCHEMA IF NOT EXISTS pgherd;
REVOKE ALL ON SCHEMA pgherd FROM PUBLIC;

CREATE TABLE IF NOT EXISTS pgherd.decision (
    gid text NOT NULL,
    owner name NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('commit', 'abort')),
    -- The shards that had prepared; empty for an abort.
    participants int4[] NOT NULL,
    xid xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
    written_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (gid, owner)
);
REVOKE ALL ON pgherd.decision FROM PUBLIC;

CREATE TABLE IF NOT EXISTS pgherd.marker (
    gid text NOT NULL,
    owner name NOT NULL,
    written_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
    PRIMARY KEY (gid, owner)
);
REVOKE ALL ON pgherd.marker FROM PUBLIC;

CREATE OR REPLACE FUNCTION pgherd.require_member(owner name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pg_has_role(session_user, owner, 'MEMBER') THEN
        RAISE EXCEPTION 'role "%" is no member of role "%", which owns the transaction',
            session_user, owner USING ERRCODE = 'insufficient_privilege';
    END IF;
END $$;

CREATE OR REPLACE FUNCTION pgherd.decide(gid text, owner name, participants int4[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgherd.require_member(owner);
    -- A decision must not be lost with the last milliseconds of a log that nobody waited for.
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO pgherd.decision (gid, owner, outcome, participants)
    VALUES (gid, owner, 'commit', participants);
END $$;

-- A plain INSERT, never ON CONFLICT: it has to wait for an anchor that is about to commit.
CREATE OR REPLACE FUNCTION pgherd.abort(gid text, owner name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgherd.require_member(owner);
    PERFORM set_config('synchronous_commit', 'on', true);
    INSERT INTO pgherd.decision (gid, owner, outcome, participants)
    VALUES (gid, owner, 'abort', '{}');
END $$;

CREATE OR REPLACE FUNCTION pgherd.mark(gid text, owner name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgherd.require_member(owner);
    INSERT INTO pgherd.marker (gid, owner) VALUES (gid, owner);
END $$;

CREATE OR REPLACE FUNCTION pgherd.outcome(gid text, owner name) RETURNS text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.outcome FROM pgherd.decision d WHERE d.gid = $1 AND d.owner = $2
$$;

-- Of these names: those that have a row of either outcome.
CREATE OR REPLACE FUNCTION pgherd.decided(gids text[], owner name) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.gid FROM pgherd.decision d WHERE d.gid = ANY ($1) AND d.owner = $2
$$;

-- Of these names: those whose participant here has committed.
CREATE OR REPLACE FUNCTION pgherd.marked(gids text[], owner name) RETURNS SETOF text
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.gid FROM pgherd.marker m WHERE m.gid = ANY ($1) AND m.owner = $2
$$;

-- What may be cleaned up: rows older than this, of roles that the caller is a member of.
CREATE OR REPLACE FUNCTION pgherd.old_decisions(age interval)
RETURNS TABLE (gid text, owner name, outcome text, participants int4[])
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT d.gid, d.owner, d.outcome, d.participants FROM pgherd.decision d
    WHERE d.written_at < now() - $1 AND pg_has_role(session_user, d.owner, 'MEMBER')
    ORDER BY d.written_at LIMIT 10000
$$;

CREATE OR REPLACE FUNCTION pgherd.old_markers(age interval)
RETURNS TABLE (gid text, owner name)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT m.gid, m.owner FROM pgherd.marker m
    WHERE m.written_at < now() - $1 AND pg_has_role(session_user, m.owner, 'MEMBER')
    ORDER BY m.written_at LIMIT 10000
$$;

-- The caller says that every participant of these has committed. An abort row goes only once
-- every transaction is over that had begun to write before it: one of them may be its anchor,
-- which would find nothing in its way and commit alone.
CREATE OR REPLACE FUNCTION pgherd.forget_decisions(gids text[], owner name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgherd.require_member(owner);
    DELETE FROM pgherd.decision d WHERE d.gid = ANY ($1) AND d.owner = $2
        AND (d.outcome = 'commit' OR d.xid < pg_snapshot_xmin(pg_current_snapshot()));
END $$;

-- The caller says that no decision row is left for these.
CREATE OR REPLACE FUNCTION pgherd.forget_markers(gids text[], owner name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pgherd.require_member(owner);
    DELETE FROM pgherd.marker m WHERE m.gid = ANY ($1) AND m.owner = $2;
END $$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA pgherd FROM PUBLIC;
