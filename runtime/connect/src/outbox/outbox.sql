-- The tables of an outbox, version 2. Applications insert into the first one only.

CREATE TABLE "outbox" (
    -- drawn when the row is inserted, after the transaction's own locks: the order of an aggregate
    id bigint GENERATED ALWAYS AS IDENTITY,
    -- never written by hand: it decides with which batch the row is published
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    -- by which consumers know the event again
    event_id uuid NOT NULL,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    revision bigint,
    -- null is a tombstone
    payload bytea,
    -- names and texts
    headers jsonb,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (id) /* by */,
    CHECK (octet_length(payload) <= 900000),
    CHECK (headers IS NULL OR jsonb_typeof(headers) = 'object')
) /* partitions */;

CREATE INDEX ON "outbox" (xid);

CREATE TABLE "outbox_meta" (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    id uuid NOT NULL DEFAULT gen_random_uuid(),
    version integer NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);

INSERT INTO "outbox_meta" (version) VALUES (2);

CREATE TABLE "outbox_relay" (
    relay text PRIMARY KEY,
    -- of its present session, and of those before, back to the one that committed the position
    token uuid NOT NULL,
    tokens_before uuid[] NOT NULL,
    -- a position of it was committed
    published boolean NOT NULL DEFAULT false,
    shard integer NOT NULL,
    shards integer NOT NULL,
    -- what is visible in it was published; may be behind
    base text,
    updated_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE "outbox_dead" (
    id bigint PRIMARY KEY,
    event_id uuid NOT NULL,
    aggregatetype text NOT NULL,
    aggregateid text NOT NULL,
    type text NOT NULL,
    revision bigint,
    payload bytea,
    headers jsonb,
    created_at timestamptz NOT NULL,
    -- null: parked behind an earlier event of its aggregate
    reason text,
    -- asked to be published again, in this order
    ticket bigint,
    died_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX ON "outbox_dead" (aggregatetype, aggregateid);

CREATE INDEX ON "outbox_dead" (ticket) WHERE ticket IS NOT NULL;
