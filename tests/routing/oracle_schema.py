"""The database of the oracle: something of everything that a statement can use, and of what hides a write.

It comes on top of `routing_statements.SCHEMA`, which has the sequence ``seq``.
"""

# ruff: noqa: E501 - a statement reads best in one piece
from __future__ import annotations

SCHEMA = r"""
CREATE ROLE oracle_reader;
CREATE SCHEMA app;
CREATE SCHEMA "Odd Name";

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE pair AS (x int, y text);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TABLE customer (
    id int PRIMARY KEY, name text NOT NULL, email text UNIQUE, region text, credit numeric(12, 2) DEFAULT 0,
    tags text[] DEFAULT '{}', data jsonb DEFAULT '{}', born date, feeling mood DEFAULT 'ok', active bool DEFAULT true
);
CREATE TABLE orders (
    id int PRIMARY KEY, customer_id int REFERENCES customer, placed timestamptz DEFAULT '2024-01-01 00:00+00',
    amount numeric(12, 2), status text DEFAULT 'new', period tstzrange, place point, note tsvector
);
CREATE TABLE "Odd Name"."Mixed Case" (id int, "Some Column" text);
CREATE TABLE measure (at date NOT NULL, value int) PARTITION BY RANGE (at);
CREATE TABLE measure_2023 PARTITION OF measure FOR VALUES FROM ('2023-01-01') TO ('2024-01-01');
CREATE TABLE measure_2024 PARTITION OF measure FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE parent (id int, label text);
CREATE TABLE heir (extra text) INHERITS (parent);
CREATE INDEX orders_customer ON orders (customer_id);
INSERT INTO customer (id, name, email, region, credit, tags, data, born) SELECT n, 'name ' || n, n || '@example.org',
    (ARRAY['eu', 'us', 'asia'])[n % 3 + 1], n * 1.5, ARRAY['t' || n], jsonb_build_object('k', n, 'list', jsonb_build_array(n)),
    date '1990-01-01' + n FROM generate_series(1, 20) n;
INSERT INTO orders (id, customer_id, amount, status, period, place, note) SELECT n, n % 20 + 1, n * 2,
    (ARRAY['new', 'paid', 'sent'])[n % 3 + 1], tstzrange('2024-01-01 00:00+00', '2024-02-01 00:00+00'), point(n, n),
    to_tsvector('simple', 'word' || n) FROM generate_series(1, 40) n;
INSERT INTO "Odd Name"."Mixed Case" VALUES (1, 'a'), (2, 'b');
INSERT INTO measure SELECT date '2023-06-01' + n * 30, n FROM generate_series(1, 12) n;
INSERT INTO parent VALUES (1, 'p');
INSERT INTO heir VALUES (2, 'c', 'x');
SELECT nextval('seq');

-- what reads, and is declared so
CREATE FUNCTION plus_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION app.plus_two(a int, b int DEFAULT 2) RETURNS int LANGUAGE sql IMMUTABLE RETURN a + b;
CREATE FUNCTION atomic(a int) RETURNS bigint LANGUAGE sql STABLE BEGIN ATOMIC SELECT count(*) FROM customer WHERE id < a; END;
CREATE FUNCTION name_of(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM customer WHERE id = $1';
CREATE FUNCTION richest() RETURNS SETOF customer LANGUAGE sql STABLE AS 'SELECT * FROM customer ORDER BY credit DESC LIMIT 3';
CREATE FUNCTION counted(region text) RETURNS int LANGUAGE plpgsql STABLE AS $$
DECLARE n int; r record;
BEGIN
    SELECT count(*) INTO n FROM customer c WHERE c.region = counted.region;
    IF (n > 100) THEN RAISE NOTICE 'many: %', n; END IF;
    FOR r IN SELECT * FROM orders LIMIT 2 LOOP n := n + coalesce(plus_one(r.id), 0); END LOOP;
    RETURN n;
END $$;
CREATE FUNCTION "Quoted Function"(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION title(customer) RETURNS text LANGUAGE sql STABLE AS 'SELECT upper($1.name)';
CREATE FUNCTION lower(customer) RETURNS text LANGUAGE sql STABLE AS 'SELECT lower($1.name)';
CREATE FUNCTION mood_rank(mood) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT CASE $1 WHEN 'sad' THEN 1 ELSE 2 END$$;
CREATE FUNCTION variadic_sum(VARIADIC int[]) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT sum(v) FROM unnest($1) v';
CREATE AGGREGATE product(int) (SFUNC = int4mul, STYPE = int, INITCOND = '1');
CREATE OPERATOR @@@ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int);
CREATE VIEW good_customers AS SELECT id, name, credit FROM customer WHERE credit > 5;
CREATE VIEW order_totals AS SELECT c.name, sum(o.amount) AS total FROM customer c JOIN orders o ON o.customer_id = c.id GROUP BY c.name;
CREATE VIEW nested AS SELECT upper(name) AS name, plus_one(id) AS n FROM good_customers;
CREATE VIEW app.with_cte AS WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n WHERE n < 5) SELECT n FROM n;
CREATE VIEW with_alias AS SELECT g.a, j.x FROM generate_series(1, 3) g(a), jsonb_to_recordset('[{"x": 1}]') AS j(x int);
CREATE VIEW stable_view AS SELECT name_of(1) AS name, counted('eu') AS n;
CREATE MATERIALIZED VIEW snapshot AS SELECT region, count(*) FROM customer GROUP BY region;
CREATE RULE forbid AS ON DELETE TO "Odd Name"."Mixed Case" DO INSTEAD NOTHING;

-- what writes, and says so
CREATE TABLE journal (at timestamptz DEFAULT now(), what text);
CREATE FUNCTION note_down(text) RETURNS int LANGUAGE sql AS $$INSERT INTO journal (what) VALUES ($1); SELECT 1$$;
CREATE FUNCTION take_number() RETURNS bigint LANGUAGE plpgsql AS $$BEGIN RETURN nextval('seq'); END$$;
CREATE FUNCTION overloaded(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1';
CREATE FUNCTION overloaded(text) RETURNS int LANGUAGE sql AS 'SELECT note_down($1)';
CREATE FUNCTION "Write It"() RETURNS int LANGUAGE sql AS $$SELECT note_down('quoted')$$;
CREATE FUNCTION touched(orders) RETURNS int LANGUAGE sql AS $$SELECT note_down('row')$$;
CREATE FUNCTION "größe"() RETURNS int LANGUAGE sql AS $$SELECT note_down('umlaut')$$;
CREATE PROCEDURE work() LANGUAGE sql AS $$INSERT INTO journal (what) VALUES ('work')$$;
CREATE PROCEDURE idle() LANGUAGE sql AS $$SELECT 1$$;

-- what writes, and says that it does not
CREATE FUNCTION sly_sequence() RETURNS bigint LANGUAGE sql STABLE AS $$SELECT nextval('seq')$$;
CREATE FUNCTION sly_call(text) RETURNS int LANGUAGE plpgsql STABLE AS $$BEGIN RETURN note_down($1); END$$;
CREATE FUNCTION sly_chain() RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$BEGIN PERFORM sly_call('chain'); RETURN 1; END$$;
CREATE FUNCTION sly_dynamic() RETURNS int LANGUAGE plpgsql STABLE AS $$
DECLARE n int; BEGIN EXECUTE 'SELECT note' || '_down(''x'')' INTO n; RETURN n; END$$;
CREATE FUNCTION sly_default(a bigint DEFAULT nextval('seq')) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT a';
CREATE FUNCTION sly_atomic() RETURNS int LANGUAGE sql STABLE RETURN note_down('atomic');
CREATE FUNCTION sly_lock() RETURNS int LANGUAGE sql STABLE AS $$SELECT 1 FROM pg_advisory_xact_lock(1)$$;
CREATE FUNCTION sly_xid() RETURNS xid8 LANGUAGE sql STABLE AS $$SELECT pg_current_xact_id()$$;
CREATE FUNCTION sly_operator(int, int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN note_down('operator'); END$$;
CREATE OPERATOR %%% (FUNCTION = sly_operator, LEFTARG = int, RIGHTARG = int);
CREATE OPERATOR app.=== (FUNCTION = sly_operator, LEFTARG = int, RIGHTARG = int);
CREATE FUNCTION sly_step(int, int) RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN note_down('step'); END$$;
CREATE AGGREGATE sly_sum(int) (SFUNC = sly_step, STYPE = int, INITCOND = '0');
CREATE FUNCTION sly_check(int) RETURNS bool LANGUAGE plpgsql AS $$BEGIN RETURN note_down('domain') = 1; END$$;
CREATE DOMAIN sly_domain AS int CHECK (sly_check(VALUE));
CREATE FUNCTION sly_cast(pair) RETURNS int LANGUAGE plpgsql AS $$BEGIN RETURN note_down('cast'); END$$;
CREATE CAST (pair AS int) WITH FUNCTION sly_cast(pair) AS IMPLICIT;
CREATE TABLE pairs (p pair);
INSERT INTO pairs VALUES ((1, 'a')::pair);
CREATE TYPE holder AS (d sly_domain);
CREATE DOMAIN "Slier Domain" AS sly_domain;
CREATE VIEW sly_view_of_a_name_that_is_longer_than_the_63_bytes_that_coun AS SELECT note_down('long') AS n;
CREATE VIEW sly_view AS SELECT nextval('seq') AS n;
CREATE VIEW sly_nested_view AS SELECT n + 1 AS n FROM sly_view;
CREATE VIEW app.sly_function_view AS SELECT note_down('view') AS n;
CREATE VIEW sly_locking_view AS SELECT id FROM customer FOR UPDATE;
CREATE VIEW sly_view_of_stable AS SELECT sly_call('view') AS n;
CREATE FUNCTION reads_sly_view() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT n FROM sly_view';
CREATE VIEW "Sly View" AS SELECT note_down('view') AS n;

-- what no standby has
CREATE UNLOGGED TABLE scratch (id int, what text);
INSERT INTO scratch VALUES (1, 'a');
CREATE UNLOGGED TABLE "größen" (id int);
CREATE VIEW scratch_view AS SELECT * FROM scratch;
CREATE FUNCTION scratch_count() RETURNS bigint LANGUAGE sql STABLE AS 'SELECT count(*) FROM scratch';
CREATE TABLE halves (id int) PARTITION BY LIST (id);
CREATE UNLOGGED TABLE halves_1 PARTITION OF halves FOR VALUES IN (1);
CREATE TABLE halves_2 PARTITION OF halves FOR VALUES IN (2);
CREATE UNLOGGED SEQUENCE unlogged_seq;

-- row-level security
CREATE TABLE guarded (id int, owner text);
INSERT INTO guarded VALUES (1, 'a');
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY guard ON guarded USING (note_down(owner) = 1);
CREATE TABLE fenced (id int, owner text);
INSERT INTO fenced VALUES (1, 'a');
ALTER TABLE fenced ENABLE ROW LEVEL SECURITY;
CREATE POLICY fence ON fenced FOR SELECT USING (owner = 'a' AND current_setting('server_encoding') = 'UTF8');
GRANT ALL ON ALL TABLES IN SCHEMA public, app TO oracle_reader;
GRANT USAGE ON SCHEMA app TO oracle_reader;

-- declared VOLATILE, though it only reads: for the primary, as it says
CREATE FUNCTION lazily_declared() RETURNS int LANGUAGE sql AS 'SELECT 1';
"""

SHADOWS = r"""
CREATE FUNCTION initcap(int) RETURNS int LANGUAGE sql AS $$SELECT note_down('initcap')$$;
CREATE FUNCTION first(int) RETURNS int LANGUAGE sql AS $$SELECT note_down('first')$$;
CREATE FUNCTION cube(int) RETURNS int LANGUAGE sql AS $$SELECT note_down('cube')$$;
CREATE FUNCTION system(int) RETURNS int LANGUAGE sql AS $$SELECT note_down('system')$$;
CREATE FUNCTION "left"(int) RETURNS int LANGUAGE sql AS $$SELECT note_down('left')$$;
CREATE FUNCTION "join"(int) RETURNS int LANGUAGE sql AS $$SELECT note_down('join')$$;
CREATE FUNCTION "timestamptz"(bool) RETURNS int LANGUAGE sql AS $$SELECT note_down('timestamptz')$$;
CREATE TYPE shade AS ENUM ('dark', 'light');
CREATE FUNCTION sly_equal(shade, text) RETURNS bool LANGUAGE plpgsql AS $$BEGIN RETURN note_down('like') = 1; END$$;
CREATE OPERATOR ~~ (FUNCTION = sly_equal, LEFTARG = shade, RIGHTARG = text);
"""
"""What makes names doubtful that are PostgreSQL's own: these cost reads, and are in a schema that can be dropped."""
