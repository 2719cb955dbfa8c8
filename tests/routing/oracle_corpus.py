"""The statements that the oracle judges: every class of the manual's SQL commands, and every place that hides a call.

`Case.before` is run first, on both servers, in the same transaction or, where `Case.bare` says so, outside of one. The
functions of pg_catalog come on top, one call each (`oracle_functions`), and the tables of `routing_statements`.
"""
# ruff: noqa: E501 - a statement reads best in one piece

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import attrs
from routing_statements import PRIMARY, READ_ONLY_TRANSACTIONS, READS

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen
class Case:
    """One statement. ``bare``: it does not go into a transaction block."""

    sql: str
    before: str = ""
    bare: bool = False


QUERIES: Final = r"""
SELECT * FROM customer
SELECT id, name AS "Name", credit * 2 AS double FROM customer c WHERE c.region = 'eu' AND NOT active OR credit BETWEEN 2 AND 9
SELECT DISTINCT region FROM customer ORDER BY region COLLATE "C" DESC NULLS LAST
SELECT DISTINCT ON (region) region, name FROM customer ORDER BY region, id
SELECT region, count(*), avg(credit) FROM customer GROUP BY region HAVING count(*) > 1
SELECT region, active, count(*), grouping(region, active) FROM customer GROUP BY GROUPING SETS ((region), (active), ())
SELECT region, sum(credit) FROM customer GROUP BY ROLLUP (region) ORDER BY 1
SELECT region, feeling, sum(credit) FROM customer GROUP BY CUBE (region, feeling)
SELECT region, feeling, sum(credit) FROM customer GROUP BY DISTINCT CUBE (region, feeling), ROLLUP (region)
SELECT region, count(*) FROM customer GROUP BY ALL region
SELECT c.name, o.amount FROM customer c JOIN orders o ON o.customer_id = c.id WHERE o.status = 'paid'
SELECT c.name, o.amount FROM customer c LEFT OUTER JOIN orders o ON o.customer_id = c.id AND o.amount > 10
SELECT * FROM customer RIGHT JOIN orders USING (id)
SELECT * FROM customer JOIN orders USING (id) AS both_of WHERE both_of.id = 1
SELECT * FROM customer FULL JOIN parent USING (id)
SELECT * FROM customer CROSS JOIN parent
SELECT * FROM customer NATURAL JOIN parent
SELECT * FROM customer c, LATERAL (SELECT * FROM orders o WHERE o.customer_id = c.id ORDER BY o.id LIMIT 1) l
SELECT * FROM customer c LEFT JOIN LATERAL (SELECT max(amount) FROM orders o WHERE o.customer_id = c.id) m ON true
SELECT * FROM customer c, jsonb_array_elements(c.data -> 'list') WITH ORDINALITY AS e(value, number)
SELECT * FROM ONLY parent
SELECT * FROM parent
SELECT tableoid::regclass, * FROM parent ORDER BY id
SELECT * FROM measure WHERE at >= '2023-07-01' AND at < date '2023-12-01'
SELECT * FROM measure_2023
SELECT ctid, xmin FROM parent
SELECT * FROM "Odd Name"."Mixed Case" WHERE "Some Column" = 'a'
SELECT "Mixed Case"."Some Column" FROM "Odd Name"."Mixed Case"
SELECT * FROM customer WHERE id IN (1, 2, 3)
SELECT * FROM customer WHERE (id, region) IN (SELECT customer_id, 'eu' FROM orders)
SELECT * FROM customer WHERE id = ANY (ARRAY[1, 2]) AND id <> ALL ('{7,8}'::int[])
SELECT * FROM customer c WHERE EXISTS (SELECT FROM orders o WHERE o.customer_id = c.id)
SELECT * FROM customer WHERE name LIKE 'name 1%' ESCAPE '!' OR name ILIKE '%2' OR name SIMILAR TO '%(3|4)' OR name ~ '5$' OR name !~* '6'
SELECT * FROM customer WHERE born IS DISTINCT FROM date '1990-01-05' AND active IS NOT UNKNOWN
SELECT * FROM customer WHERE tags @> ARRAY['t1'] OR tags && '{t2,t3}' OR data @> '{"k": 4}' OR data ? 'k' OR data ->> 'k' = '7'
SELECT * FROM orders WHERE note @@ to_tsquery('simple', 'word1 | word2') ORDER BY ts_rank(note, to_tsquery('simple', 'word1')), id
SELECT * FROM orders WHERE period && tstzrange('2024-01-15 00:00+00', NULL) AND place <-> point(0, 0) < 5
SELECT id, place[0], place <@ box '(0,0),(5,5)' FROM orders
SELECT id, row_number() OVER (ORDER BY id), lag(amount) OVER w, sum(amount) OVER (w ROWS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES) FROM orders WINDOW w AS (PARTITION BY status ORDER BY id)
SELECT id, ntile(4) OVER (ORDER BY id), first_value(id) OVER (ORDER BY id GROUPS UNBOUNDED PRECEDING), percent_rank() OVER (ORDER BY id) FROM orders
SELECT string_agg(name, ', ' ORDER BY name DESC) FILTER (WHERE active), array_agg(DISTINCT region), bool_or(active) FROM customer
SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY credit), mode() WITHIN GROUP (ORDER BY region), rank(5) WITHIN GROUP (ORDER BY id) FROM customer
SELECT json_object_agg(id, name ORDER BY id), jsonb_agg(DISTINCT region) FROM customer
SELECT JSON_OBJECT('a': 1, 'b': name), JSON_ARRAY(1, 2, id), JSON_ARRAYAGG(id), JSON_OBJECTAGG(id: name) FROM customer GROUP BY id, name
SELECT JSON_VALUE(data, '$.k'), JSON_QUERY(data, '$.list'), JSON_EXISTS(data, '$.k') FROM customer
SELECT t.* FROM customer, JSON_TABLE(data, '$' COLUMNS (k int PATH '$.k', id FOR ORDINALITY)) AS t
SELECT data['k'], data['list'][0], tags[1], tags[1:2], (ARRAY[1, 2, 3])[2], (ARRAY[[1, 2], [3, 4]])[1:1][1] FROM customer
SELECT data #> '{list,0}', data #>> '{k}', data - 'k', data || '{"z": 1}', data @? '$.k', data @@ '$.k > 3' FROM customer
SELECT CASE WHEN credit > 10 THEN 'rich' WHEN credit > 5 THEN 'fair' ELSE 'poor' END, CASE region WHEN 'eu' THEN 1 END FROM customer
SELECT CAST(credit AS int), credit::numeric(10, 1), '1'::int, int '7', 'ok'::mood, '{1,2}'::int[], NULL::text, date '2024-02-29', 5::positive FROM customer
SELECT coalesce(email, 'none'), nullif(region, 'eu'), greatest(id, 5), least(id, 5, 3) FROM customer
SELECT ROW(1, 'a'), (ROW(1, 'a')::text), (c).name, (c).* FROM customer c
SELECT c FROM customer c WHERE c IS NOT NULL
SELECT ARRAY(SELECT id FROM parent), ARRAY[[1, 2], [3, 4]], array_length(tags, 1) FROM customer
SELECT (SELECT max(amount) FROM orders o WHERE o.customer_id = c.id) FROM customer c
SELECT extract(year FROM born), date_part('month', born), born + interval '1 month', age(date '2024-01-01', born), born AT TIME ZONE 'UTC' FROM customer
SELECT INTERVAL '1' YEAR, interval '1 day 2 hours', time '10:00', timestamptz '2024-01-01 00:00+01' AT TIME ZONE 'Europe/Berlin', '1 day'::interval * 3
SELECT placed AT LOCAL FROM orders
SELECT substring(name FROM 1 FOR 3), substring(name, 2), position('a' IN name), trim(BOTH ' ' FROM name), overlay(name PLACING 'x' FROM 1), name || '!' FROM customer
SELECT name COLLATE "C" < 'x', upper(name) FROM customer
SELECT U&'d\0061t\+000061', U&'d!0061' UESCAPE '!', E'a\tb\x41', $$dollar$$, $tag$a $$ b$tag$, B'101', X'1F', 'it''s'
SELECT 1_000, 0xFF, 0o17, 0b11, 1e3, .5, 1.5e-3
SELECT -1, - 1, +1, 2 ^ 3, 7 % 3, |/ 4, ||/ 8, @ -5, 5 & 3, 5 | 3, 5 # 3, ~5, 1 << 2, 8 >> 1
SELECT 1 OPERATOR(pg_catalog.+) 2, id OPERATOR(pg_catalog.=) 1 FROM parent
SELECT 2 @@@ 3
SELECT id FROM customer UNION SELECT id FROM orders ORDER BY 1 LIMIT 5
SELECT id FROM customer UNION ALL SELECT id FROM orders
(SELECT id FROM customer ORDER BY id LIMIT 2) INTERSECT (SELECT id FROM orders) EXCEPT ALL SELECT 1
VALUES (1, 'a'), (2, 'b') ORDER BY 1 DESC OFFSET 1
TABLE parent
TABLE ONLY parent ORDER BY id LIMIT 1
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) AS v (n, t) JOIN customer ON customer.id = v.n
SELECT * FROM customer ORDER BY id LIMIT 5 OFFSET 3
SELECT * FROM customer ORDER BY id OFFSET 3 ROWS FETCH FIRST 5 ROWS ONLY
SELECT * FROM customer ORDER BY region FETCH FIRST 2 ROWS WITH TIES
SELECT * FROM customer ORDER BY id USING > LIMIT ALL
SELECT count(*) FROM customer TABLESAMPLE BERNOULLI (100)
SELECT count(*) FROM customer TABLESAMPLE SYSTEM (100) REPEATABLE (7)
SELECT * FROM generate_series(1, 3)
SELECT * FROM generate_series('2024-01-01'::timestamp, '2024-01-03', '1 day') AS day
SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a', 'b', 'c'])) WITH ORDINALITY AS r(a, b, n)
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['x', 'y']) AS u(a, b)
SELECT generate_series(1, 3), unnest(tags) FROM customer
SELECT * FROM json_to_record('{"a": 1, "b": "x"}') AS r(a int, b text)
SELECT * FROM jsonb_populate_record(NULL::pair, '{"x": 1}')
SELECT * FROM regexp_split_to_table('a,b', ',') WITH ORDINALITY
WITH big AS (SELECT * FROM orders WHERE amount > 20) SELECT count(*) FROM big
WITH a AS MATERIALIZED (SELECT 1 AS n), b(n) AS NOT MATERIALIZED (SELECT n + 1 FROM a) SELECT * FROM a, b
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 10) SELECT sum(n) FROM t
WITH RECURSIVE t(n, path) AS (SELECT 1, ARRAY[1] UNION ALL SELECT n + 1, path || n FROM t WHERE n < 4) SEARCH BREADTH FIRST BY n SET ordering SELECT * FROM t
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n % 3 + 1 FROM t) CYCLE n SET is_cycle USING path SELECT * FROM t
SELECT (WITH x AS (SELECT 1 AS n) SELECT n FROM x)
SELECT * FROM (SELECT id FROM customer) AS sub(key) WHERE key < 3
SELECT FROM customer
SELECT ALL id FROM customer
SELECT 1 AS "select", 2 AS "from"
SELECT /* hint */ id -- trailing
SELECT 1; SELECT 2
SELECT id FROM customer WHERE name = $$x$$; TABLE parent;
SELECT * FROM good_customers
SELECT * FROM order_totals ORDER BY total DESC, name LIMIT 3
SELECT * FROM nested
SELECT * FROM app.with_cte
SELECT * FROM with_alias
SELECT * FROM stable_view
SELECT * FROM snapshot
SELECT plus_one(1), public.plus_one(id), app.plus_two(1), app.plus_two(a => 1, b := 5) FROM parent
SELECT name_of(1), counted('eu'), atomic(5), "Quoted Function"(3), public."Quoted Function"(4)
SELECT * FROM richest()
SELECT (richest()).name
SELECT r.name FROM richest() AS r WHERE r.id > 1
SELECT product(id) FROM parent
SELECT product(id) OVER (ORDER BY id) FROM parent
SELECT variadic_sum(1, 2, 3), variadic_sum(VARIADIC ARRAY[1, 2])
SELECT mood_rank(feeling) FROM customer
SELECT pg_catalog.upper('x'), pg_catalog.count(*) FROM parent
SELECT last_value, is_called FROM seq
SELECT 5::positive
SELECT * FROM pg_class WHERE relname = 'customer'
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum WHERE c.relname = 'customer' AND a.attnum > 0
SELECT * FROM information_schema.columns WHERE table_name = 'customer'
SELECT * FROM information_schema.table_constraints WHERE table_schema = 'public'
SELECT indexdef FROM pg_indexes WHERE tablename = 'orders'
SELECT pg_get_viewdef('nested'::regclass, true), pg_get_functiondef('plus_one'::regproc), obj_description('customer'::regclass)
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relname OPERATOR(pg_catalog.~) '^(customer)$' COLLATE pg_catalog.default AND pg_catalog.pg_table_is_visible(c.oid) ORDER BY 2, 3
SELECT current_database(), current_schema, current_user, session_user, current_setting('server_version_num')
SELECT has_table_privilege('customer', 'SELECT'), has_schema_privilege('app', 'USAGE')
SELECT pg_size_pretty(123456::bigint), pg_column_size(1)
SELECT oid, typname FROM pg_type WHERE typname IN ('hstore', 'mood')
EXPLAIN SELECT * FROM customer
EXPLAIN (COSTS off) SELECT * FROM customer c JOIN orders o ON o.customer_id = c.id
EXPLAIN (FORMAT json, COSTS off) SELECT 1
EXPLAIN VERBOSE SELECT plus_one(id) FROM parent
EXPLAIN (VERBOSE, SETTINGS) TABLE parent
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) SELECT * FROM parent
COPY parent TO STDOUT
COPY parent (id) TO STDOUT WITH (FORMAT csv, HEADER)
COPY "Odd Name"."Mixed Case" TO STDOUT CSV
COPY (SELECT id, name FROM customer ORDER BY id) TO STDOUT
COPY (SELECT plus_one(1)) TO STDOUT WITH BINARY
COPY (VALUES (1, 2)) TO STDOUT (DELIMITER ';')
COPY (WITH x AS (SELECT 1) TABLE x) TO STDOUT
"""
APPLICATIONS: Final = r"""
SELECT "customer"."id", "customer"."name", "customer"."email" FROM "customer" WHERE ("customer"."active" = TRUE AND "customer"."id" IN (1, 2, 3)) ORDER BY "customer"."name" ASC LIMIT 21
SELECT (1) AS "a" FROM "customer" WHERE "customer"."email" = 'x' LIMIT 1
SELECT COUNT(*) AS "__count" FROM "customer" WHERE UPPER("customer"."name"::text) LIKE UPPER('%name%')
SELECT "orders"."id", COUNT("customer"."id") AS "n" FROM "orders" INNER JOIN "customer" ON ("orders"."customer_id" = "customer"."id") GROUP BY "orders"."id" HAVING COUNT("customer"."id") >= 1 ORDER BY "n" DESC, 1
SELECT EXTRACT('year' FROM "orders"."placed" AT TIME ZONE 'UTC') AS "y", SUM("orders"."amount") FROM "orders" GROUP BY 1
SELECT DISTINCT "customer"."region" FROM "customer" WHERE NOT (EXISTS(SELECT 1 AS "a" FROM "orders" U0 WHERE U0."customer_id" = ("customer"."id") LIMIT 1))
SELECT DATE_TRUNC('month', "orders"."placed" AT TIME ZONE 'UTC') AS "m", COALESCE(SUM("orders"."amount"), 0) FROM "orders" GROUP BY 1 ORDER BY 1
SELECT 1 AS one FROM "customer" WHERE "customer"."email" = 'x' AND "customer"."id" != 3 LIMIT 1
SELECT "customer".* FROM "customer" LEFT OUTER JOIN "orders" ON "orders"."customer_id" = "customer"."id" WHERE "orders"."id" IS NULL
SELECT "customer"."id" AS t0_r0, "customer"."name" AS t0_r1, "orders"."id" AS t1_r0 FROM "customer" LEFT OUTER JOIN "orders" ON "orders"."customer_id" = "customer"."id" WHERE "orders"."status" IN ('new', 'paid')
SELECT customer.id AS customer_id, customer.name AS customer_name FROM customer WHERE customer.id = 5
SELECT anon_1.region, count(anon_1.id) AS count_1 FROM (SELECT customer.id AS id, customer.region AS region FROM customer WHERE customer.credit > 3) AS anon_1 GROUP BY anon_1.region
SELECT orders_1.customer_id AS orders_1_customer_id, sum(orders_1.amount) OVER (PARTITION BY orders_1.customer_id ORDER BY orders_1.placed) AS running FROM orders AS orders_1
select c1_0.id,c1_0.name,o1_0.id,o1_0.amount from customer c1_0 left join orders o1_0 on o1_0.customer_id=c1_0.id where lower(c1_0.name) like lower('NAME%') escape '' order by c1_0.id offset 0 rows fetch first 10 rows only
select count(c1_0.id) from customer c1_0 where c1_0.region='eu' and c1_0.credit between 1 and 50
SELECT "public"."customer"."id", "public"."customer"."name" FROM "public"."customer" WHERE ("public"."customer"."id" = 1 AND 1=1) LIMIT 1 OFFSET 0
SELECT "t0"."id", COALESCE(jsonb_agg("t1"."data"), '[]') FROM "customer" "t0" LEFT JOIN LATERAL (SELECT json_build_object('id', o."id") AS "data" FROM "orders" o WHERE o."customer_id" = "t0"."id") "t1" ON TRUE GROUP BY 1
SELECT c.oid::pg_catalog.regclass, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', '') ORDER BY 1
SELECT a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), (SELECT substring(pg_catalog.pg_get_expr(d.adbin, d.adrelid, true) for 128) FROM pg_catalog.pg_attrdef d WHERE d.adrelid = a.attrelid AND d.adnum = a.attnum AND a.atthasdef), a.attnotnull FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'orders'::regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
SELECT conname, pg_catalog.pg_get_constraintdef(r.oid, true) AS condef FROM pg_catalog.pg_constraint r WHERE r.conrelid = 'orders'::regclass AND r.contype = 'f' ORDER BY 1
SELECT i.relname, pg_get_indexdef(d.indexrelid), d.indisunique, array(SELECT pg_get_indexdef(d.indexrelid, k + 1, true) FROM generate_subscripts(d.indkey, 1) AS k ORDER BY k) FROM pg_index d JOIN pg_class i ON d.indexrelid = i.oid WHERE d.indrelid = 'customer'::regclass
SELECT t.typname, e.enumlabel FROM pg_type t JOIN pg_enum e ON e.enumtypid = t.oid ORDER BY t.typname, e.enumsortorder
SELECT d.datname, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate FROM pg_catalog.pg_database d WHERE d.datname = current_database()
SELECT EXISTS (SELECT FROM information_schema.tables WHERE table_schema = 'public' AND table_name = 'customer')
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = ANY (current_schemas(false)) ORDER BY 1, ordinal_position
WITH regional_sales AS (SELECT region, SUM(amount) AS total_sales FROM orders JOIN customer ON customer.id = customer_id GROUP BY region), top_regions AS (SELECT region FROM regional_sales WHERE total_sales > (SELECT SUM(total_sales) / 10 FROM regional_sales)) SELECT region, status, SUM(amount) FROM orders JOIN customer c ON c.id = customer_id WHERE region IN (SELECT region FROM top_regions) GROUP BY region, status
SELECT x.id, x.amount, x.amount - lag(x.amount, 1, 0) OVER (PARTITION BY x.customer_id ORDER BY x.id) AS delta FROM orders x WHERE x.status <> 'sent' ORDER BY x.id DESC LIMIT 10
SELECT to_char(placed, 'YYYY-MM') AS month, count(*) FILTER (WHERE status = 'paid')::float / nullif(count(*), 0) FROM orders GROUP BY 1
SELECT c.*, (SELECT json_agg(json_build_object('id', o.id, 'amount', o.amount) ORDER BY o.id) FROM orders o WHERE o.customer_id = c.id) AS orders FROM customer c WHERE c.id = 3
SELECT id, name, similarity FROM (SELECT id, name, length(name)::float / 10 AS similarity FROM customer) s WHERE similarity > 0.3 ORDER BY similarity DESC, id
SELECT width_bucket(amount, 0, 100, 5) AS bucket, count(*), min(amount), max(amount), round(avg(amount), 2), stddev_samp(amount) FROM orders GROUP BY bucket ORDER BY bucket
SELECT a.id, b.id FROM customer a JOIN customer b ON a.region = b.region AND a.id < b.id WHERE a.credit + b.credit > 20 ORDER BY 1, 2
"""
_ROLE: Final = "SET LOCAL ROLE oracle_reader"

GUARDED: Final = (
    Case("SELECT * FROM guarded", _ROLE),
    Case("TABLE guarded", _ROLE),
    Case("COPY guarded TO STDOUT", _ROLE),
    Case("SELECT count(*) FROM customer c JOIN guarded g USING (id)", _ROLE),
    Case("SELECT * FROM fenced", _ROLE),
    Case("COPY fenced TO STDOUT", _ROLE),
    Case("SELECT count(*) FROM public.fenced", _ROLE),
)
"""Row-level security is not for superusers."""

PLACES: Final = """
SELECT {}
SELECT id FROM parent WHERE {} IS NOT NULL
SELECT {} AS x FROM parent ORDER BY 1
SELECT id FROM parent ORDER BY {}
SELECT count(*) FROM parent GROUP BY {}
SELECT count(*) FROM parent HAVING {} IS NOT NULL
SELECT CASE WHEN {} IS NULL THEN 1 ELSE 2 END
SELECT coalesce({}, {})
SELECT ARRAY[{}]
SELECT ({})::text
SELECT CAST({} AS text)
SELECT EXISTS (SELECT 1 WHERE {} IS NOT NULL)
SELECT (SELECT {})
WITH x AS (SELECT {} AS n) SELECT * FROM x
WITH x AS MATERIALIZED (SELECT {} AS n) SELECT 1 FROM x
SELECT p.id FROM parent p JOIN parent q ON {} IS NOT NULL
SELECT * FROM parent p, LATERAL (SELECT {} AS n) l
VALUES ({}), ({})
SELECT 1 FROM parent UNION ALL SELECT ({})::text::int
SELECT max(({})::text) FROM parent
SELECT count(*) FILTER (WHERE {} IS NOT NULL) FROM parent
SELECT row_number() OVER (PARTITION BY {}) FROM parent
SELECT id FROM parent LIMIT length(({})::text)
SELECT concat('a', {})
SELECT ROW({}, 1)
EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off, BUFFERS off) SELECT {}
COPY (SELECT {}) TO STDOUT
SELECT 1; SELECT {}
"""
READING_CALLS: Final = """
plus_one(1)
app.plus_two(3)
name_of(2)
counted('eu')
"Quoted Function"(1)
atomic(4)
lower('ABC')
abs(-3)
"""
WRITING_CALLS: Final = """
nextval('seq')
note_down('x')
take_number()
"Write It"()
overloaded('x'::text)
public.note_down('x')
sly_sequence()
sly_call('x')
sly_chain()
sly_dynamic()
sly_default()
sly_atomic()
reads_sly_view()
scratch_count()
1 %%% 2
3 OPERATOR(app.===) 4
'5'::sly_domain
pg_current_xact_id()
größe()
"""
SLY: Final = """
SELECT * FROM sly_view
SELECT n FROM public.sly_view
SELECT * FROM sly_nested_view
SELECT * FROM app.sly_function_view
SELECT * FROM sly_locking_view
SELECT * FROM sly_view_of_stable
SELECT * FROM "Sly View"
TABLE sly_view
SELECT count(*) FROM customer, sly_view
SELECT * FROM (customer CROSS JOIN sly_view)
SELECT * FROM customer c JOIN LATERAL (SELECT n FROM sly_view) s ON true
WITH x AS (TABLE sly_view) SELECT * FROM x
SELECT (SELECT n FROM sly_view)
SELECT * FROM customer WHERE id = (SELECT n FROM sly_view)
COPY (TABLE sly_view) TO STDOUT
EXPLAIN ANALYZE SELECT * FROM sly_view
SELECT touched(o) FROM orders o
SELECT o.touched FROM orders o
SELECT (o).touched FROM orders o LIMIT 1
SELECT touched FROM (SELECT o.touched FROM orders o LIMIT 1) q
SELECT sly_sum(id) FROM parent
SELECT sly_sum(id) OVER () FROM parent
SELECT p::int FROM pairs
SELECT (1, 'a')::pair::int
SELECT CAST(ROW(1, 'a')::pair AS int)
SELECT abs(p) FROM pairs
SELECT 1 %%% 2
SELECT 1 %%%-2
SELECT '1'::sly_domain
SELECT CAST(1 AS sly_domain)
SELECT sly_domain '1'
SELECT '1'::"Slier Domain"
SELECT jsonb_populate_record(NULL::holder, '{"d": 5}')
SELECT n FROM sly_view_of_a_name_that_is_longer_than_the_63_bytes_that_count
SELECT * FROM scratch
SELECT * FROM ONLY scratch
SELECT * FROM public.scratch s
SELECT * FROM customer, scratch
SELECT * FROM customer JOIN scratch USING (id)
SELECT * FROM scratch_view
TABLE scratch
COPY scratch TO STDOUT
SELECT * FROM größen
SELECT * FROM "größen"
SELECT * FROM halves
SELECT * FROM halves_1
SELECT * FROM halves_2
SELECT last_value FROM unlogged_seq
SELECT count(*) FROM (SELECT 1 FROM scratch) q
SELECT note_down(name) FROM customer LIMIT 1
SELECT * FROM note_down('x')
SELECT * FROM ROWS FROM (note_down('x'), generate_series(1, 2))
SELECT * FROM public . note_down ( 'x' ) AS n
SELECT pg_catalog . nextval('seq')
SELECT U&"n\006Fte_down"('x')
SELECT lazily_declared()
SELECT sly_lock()
SELECT sly_xid()
SELECT lo_create(0)
SELECT lo_from_bytea(0, 'x')
SELECT pg_notify('c', 'p')
SELECT pg_logical_emit_message(true, 'p', 'm')
SELECT setval('seq', 5)
SELECT currval('seq')
SELECT lastval()
SELECT txid_current()
SELECT txid_current_if_assigned()
SELECT pg_current_wal_lsn()
SELECT pg_export_snapshot()
SELECT pg_advisory_lock(1)
SELECT pg_try_advisory_xact_lock(1)
SELECT set_config('work_mem', '8MB', false)
SELECT set_config('work_mem', '8MB', true)
SELECT setseed(0.1)
SELECT query_to_xml('SELECT nextval(''seq'')', true, true, '')
SELECT * FROM ts_stat('SELECT note FROM orders')
SELECT * FROM pg_stat_activity
SELECT * FROM pg_settings
SELECT * FROM pg_locks
"""
WRITES: Final = """
INSERT INTO parent VALUES (9, 'x')
INSERT INTO parent (id) SELECT id FROM customer
INSERT INTO parent (id) VALUES (9) RETURNING *
INSERT INTO customer (id, name) VALUES (1, 'x') ON CONFLICT (id) DO UPDATE SET name = excluded.name
INSERT INTO customer (id, name) VALUES (1, 'x') ON CONFLICT DO NOTHING
INSERT INTO parent DEFAULT VALUES
INSERT INTO parent TABLE parent
WITH x AS (SELECT 9 AS id) INSERT INTO parent (id) SELECT id FROM x
UPDATE parent SET label = 'y'
UPDATE parent SET label = 'y' WHERE id = 1 RETURNING *
UPDATE parent AS p SET label = c.name FROM customer c WHERE c.id = p.id
UPDATE parent SET (label, id) = ROW('z', 5) WHERE false
UPDATE ONLY parent SET id = DEFAULT
DELETE FROM parent
DELETE FROM parent WHERE false
DELETE FROM parent USING customer c WHERE c.id = parent.id RETURNING parent.id
WITH gone AS (DELETE FROM parent RETURNING *) SELECT * FROM gone
WITH new AS (INSERT INTO parent VALUES (9) RETURNING id) SELECT count(*) FROM new
WITH changed AS (UPDATE parent SET label = 'y' RETURNING *) TABLE changed
WITH x AS (SELECT 1), y AS (DELETE FROM parent) SELECT * FROM x
WITH RECURSIVE x(n) AS (SELECT 1), y AS (UPDATE parent SET label = '') SELECT n FROM x
WITH m AS (MERGE INTO parent p USING customer c ON c.id = p.id WHEN MATCHED THEN DELETE RETURNING p.id) SELECT * FROM m
MERGE INTO parent p USING customer c ON c.id = p.id WHEN MATCHED THEN UPDATE SET label = c.name WHEN NOT MATCHED THEN INSERT VALUES (c.id, c.name)
MERGE INTO parent p USING customer c ON false WHEN NOT MATCHED BY SOURCE THEN DO NOTHING
TRUNCATE journal
TRUNCATE TABLE journal RESTART IDENTITY CASCADE
EXPLAIN ANALYZE INSERT INTO parent VALUES (9)
EXPLAIN ANALYZE UPDATE parent SET label = 'y'
EXPLAIN (ANALYZE) DELETE FROM parent
EXPLAIN (ANALYZE, COSTS off) WITH x AS (DELETE FROM parent RETURNING *) SELECT * FROM x
EXPLAIN ANALYZE CREATE TABLE made AS SELECT 1
EXPLAIN ANALYZE SELECT note_down('x')
COPY parent FROM STDIN
COPY parent (id) FROM STDIN WITH (FORMAT csv)
COPY (INSERT INTO parent VALUES (9) RETURNING *) TO STDOUT
COPY (SELECT note_down('x')) TO STDOUT
SELECT * INTO made FROM parent
SELECT 1 AS n INTO TEMP made
SELECT 1 AS n INTO UNLOGGED TABLE made
SELECT id INTO made FROM parent UNION SELECT 5
WITH x AS (SELECT 1 AS n) SELECT n INTO made FROM x
SELECT * FROM customer FOR UPDATE
SELECT * FROM customer WHERE id = 1 FOR NO KEY UPDATE
SELECT * FROM customer FOR SHARE
SELECT * FROM customer FOR KEY SHARE
SELECT * FROM customer c FOR UPDATE OF c SKIP LOCKED
SELECT * FROM customer FOR SHARE NOWAIT
SELECT * FROM customer ORDER BY id LIMIT 1 FOR UPDATE
SELECT * FROM customer FOR UPDATE LIMIT 1
SELECT * FROM (SELECT * FROM customer FOR UPDATE) q
WITH x AS (SELECT * FROM customer FOR UPDATE) SELECT * FROM x
SELECT (SELECT id FROM customer LIMIT 1 FOR SHARE)
SELECT * FROM customer WHERE id IN (SELECT id FROM orders FOR UPDATE)
TABLE customer FOR UPDATE
SELECT 1; SELECT * FROM customer FOR UPDATE
EXPLAIN ANALYZE SELECT * FROM customer FOR UPDATE
SELECT 1; INSERT INTO parent VALUES (9)
INSERT INTO parent VALUES (9); SELECT 1
SELECT 1; SELECT nextval('seq'); SELECT 2
CALL work()
DO $$BEGIN INSERT INTO journal (what) VALUES ('do'); END$$
DO LANGUAGE plpgsql $$BEGIN PERFORM nextval('seq'); END$$
LOCK parent
LOCK TABLE parent IN ACCESS EXCLUSIVE MODE
LOCK TABLE ONLY parent IN SHARE ROW EXCLUSIVE MODE NOWAIT
LOCK TABLE parent IN EXCLUSIVE MODE
"""
DEFINITIONS: Final = """
CREATE TABLE made (a int)
CREATE TABLE IF NOT EXISTS made (a int PRIMARY KEY, b text DEFAULT 'x', CHECK (a > 0))
CREATE TABLE made AS SELECT 1 AS n
CREATE TABLE made AS TABLE parent WITH NO DATA
CREATE TABLE made (LIKE customer INCLUDING ALL)
CREATE TABLE made PARTITION OF measure FOR VALUES FROM ('2030-01-01') TO ('2031-01-01')
CREATE TABLE made () INHERITS (parent)
CREATE TEMP TABLE made (a int)
CREATE TEMPORARY TABLE made ON COMMIT DROP AS SELECT 1
CREATE UNLOGGED TABLE made (a int)
CREATE VIEW made AS SELECT 1 AS n
CREATE OR REPLACE TEMP VIEW made AS SELECT 1 AS n
CREATE RECURSIVE VIEW made (n) AS VALUES (1)
CREATE MATERIALIZED VIEW made AS SELECT 1 AS n
CREATE INDEX made ON parent (id)
CREATE UNIQUE INDEX ON parent (id) WHERE id > 0
CREATE SEQUENCE made
CREATE TEMP SEQUENCE made
CREATE SCHEMA made
CREATE SCHEMA made CREATE TABLE t (a int)
CREATE TYPE made AS (a int)
CREATE TYPE made AS ENUM ('a')
CREATE TYPE made AS RANGE (SUBTYPE = float8)
CREATE TYPE made
CREATE DOMAIN made AS int CHECK (VALUE > 0)
CREATE FUNCTION made() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE FUNCTION made() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END
CREATE OR REPLACE FUNCTION plus_one(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1'
CREATE PROCEDURE made() LANGUAGE sql AS 'SELECT 1'
CREATE AGGREGATE made (int) (SFUNC = int4pl, STYPE = int)
CREATE OPERATOR ~~~~~ (FUNCTION = int4pl, LEFTARG = int, RIGHTARG = int)
CREATE OPERATOR CLASS made FOR TYPE int USING btree AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)
CREATE OPERATOR FAMILY made USING btree
CREATE CAST (mood AS int) WITH FUNCTION mood_rank(mood)
CREATE CONVERSION made FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8
CREATE COLLATION made FROM "C"
CREATE STATISTICS made ON id, label FROM parent
CREATE TRIGGER made AFTER INSERT ON parent EXECUTE FUNCTION suppress_redundant_updates_trigger()
CREATE EVENT TRIGGER made ON ddl_command_end EXECUTE FUNCTION missing()
CREATE RULE made AS ON INSERT TO parent DO ALSO NOTHING
CREATE RULE made AS ON INSERT TO parent DO ALSO (SELECT 1; SELECT 2)
CREATE POLICY made ON parent USING (true)
CREATE ROLE made
CREATE USER made PASSWORD 'secret'
CREATE GROUP made
CREATE EXTENSION plpgsql
CREATE LANGUAGE made
CREATE FOREIGN DATA WRAPPER made
CREATE SERVER made FOREIGN DATA WRAPPER missing
CREATE FOREIGN TABLE made (a int) SERVER missing
CREATE USER MAPPING FOR public SERVER missing
CREATE PUBLICATION made
CREATE ACCESS METHOD made TYPE TABLE HANDLER heap_tableam_handler
CREATE TEXT SEARCH CONFIGURATION made (COPY = simple)
CREATE TEXT SEARCH DICTIONARY made (TEMPLATE = simple)
CREATE TEXT SEARCH PARSER made (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype)
CREATE TEXT SEARCH TEMPLATE made (LEXIZE = dsimple_lexize)
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION missing(internal))
ALTER TABLE parent ADD COLUMN more int
ALTER TABLE parent RENAME TO renamed
ALTER TABLE parent ENABLE ROW LEVEL SECURITY
ALTER TABLE measure DETACH PARTITION measure_2023
ALTER VIEW nested RENAME TO renamed
ALTER MATERIALIZED VIEW snapshot RENAME TO renamed
ALTER INDEX orders_customer RENAME TO renamed
ALTER SEQUENCE seq RESTART
ALTER SCHEMA app RENAME TO renamed
ALTER TYPE mood ADD VALUE 'new'
ALTER TYPE pair ADD ATTRIBUTE z int
ALTER DOMAIN positive DROP NOT NULL
ALTER FUNCTION plus_one(int) STABLE
ALTER PROCEDURE work() RENAME TO renamed
ALTER ROUTINE work() RENAME TO renamed
ALTER AGGREGATE product(int) RENAME TO renamed
ALTER OPERATOR @@@ (int, int) SET (RESTRICT = NONE)
ALTER COLLATION "C" RENAME TO renamed
ALTER STATISTICS missing RENAME TO renamed
ALTER TRIGGER missing ON parent RENAME TO renamed
ALTER POLICY fence ON fenced USING (true)
ALTER RULE forbid ON "Odd Name"."Mixed Case" RENAME TO renamed
ALTER ROLE oracle_reader SET work_mem = '1MB'
ALTER USER oracle_reader CONNECTION LIMIT 5
ALTER GROUP oracle_reader ADD USER oracle_reader
ALTER DATABASE postgres SET work_mem = '4MB'
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO oracle_reader
ALTER EXTENSION plpgsql UPDATE
ALTER LANGUAGE plpgsql RENAME TO renamed
ALTER LARGE OBJECT 1 OWNER TO oracle_reader
ALTER PUBLICATION missing SET (publish = '')
ALTER SUBSCRIPTION missing DISABLE
ALTER SERVER missing OPTIONS (a 'b')
ALTER TABLESPACE pg_default RENAME TO renamed
ALTER TEXT SEARCH CONFIGURATION simple RENAME TO renamed
ALTER CONVERSION missing RENAME TO renamed
ALTER EVENT TRIGGER missing DISABLE
ALTER FOREIGN DATA WRAPPER missing OPTIONS (a 'b')
DROP TABLE journal
DROP TABLE IF EXISTS missing
DROP VIEW nested
DROP MATERIALIZED VIEW snapshot
DROP INDEX orders_customer
DROP SEQUENCE unlogged_seq
DROP SCHEMA IF EXISTS missing
DROP TYPE IF EXISTS missing
DROP DOMAIN IF EXISTS missing
DROP FUNCTION lazily_declared()
DROP PROCEDURE work
DROP AGGREGATE product(int)
DROP OPERATOR @@@ (int, int)
DROP CAST IF EXISTS (mood AS text)
DROP RULE forbid ON "Odd Name"."Mixed Case"
DROP POLICY fence ON fenced
DROP TRIGGER IF EXISTS missing ON parent
DROP ROLE IF EXISTS missing
DROP EXTENSION IF EXISTS missing
DROP OWNED BY oracle_reader
DROP STATISTICS IF EXISTS missing
DROP PUBLICATION IF EXISTS missing
DROP COLLATION IF EXISTS missing
DROP SERVER IF EXISTS missing
DROP TEXT SEARCH DICTIONARY IF EXISTS missing
REASSIGN OWNED BY oracle_reader TO CURRENT_USER
GRANT SELECT ON parent TO oracle_reader
GRANT oracle_reader TO CURRENT_USER
REVOKE ALL ON parent FROM oracle_reader
COMMENT ON TABLE parent IS 'x'
COMMENT ON COLUMN parent.id IS NULL
SECURITY LABEL ON TABLE parent IS 'x'
REFRESH MATERIALIZED VIEW snapshot
IMPORT FOREIGN SCHEMA s FROM SERVER missing INTO public
ANALYZE parent
ANALYZE VERBOSE parent (id)
ANALYZE
CLUSTER parent USING missing
REINDEX TABLE parent
REINDEX INDEX orders_customer
NOTIFY channel
NOTIFY channel, 'payload'
LISTEN channel
CHECKPOINT
PREPARE TRANSACTION 'x'
"""
OUTSIDE: Final = """
VACUUM parent
VACUUM (ANALYZE, VERBOSE) parent
CREATE INDEX CONCURRENTLY made ON parent (id)
DROP INDEX CONCURRENTLY missing
REINDEX TABLE CONCURRENTLY parent
ALTER SYSTEM SET work_mem = 'nonsense'
CREATE DATABASE made TEMPLATE missing
DROP DATABASE missing
CREATE TABLESPACE made LOCATION '/missing'
DROP TABLESPACE missing
CREATE SUBSCRIPTION made CONNECTION '' PUBLICATION p WITH (connect = false, slot_name = 'no good')
DROP SUBSCRIPTION missing
CLUSTER
COMMIT PREPARED 'missing'
ROLLBACK PREPARED 'missing'
BEGIN ISOLATION LEVEL SERIALIZABLE
BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY
BEGIN TRANSACTION ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE
BEGIN READ WRITE
START TRANSACTION ISOLATION LEVEL SERIALIZABLE
START TRANSACTION READ WRITE, ISOLATION LEVEL READ COMMITTED
BEGIN READ ONLY, READ WRITE
BEGIN; INSERT INTO parent VALUES (9)
BEGIN READ ONLY; SELECT 1
"""
"""What PostgreSQL does not do inside of a transaction, and what begins one."""

SESSION: Final = """
SET LOCAL search_path TO public
RESET work_mem
SHOW work_mem
SHOW TRANSACTION ISOLATION LEVEL
DECLARE c CURSOR FOR SELECT 1
PREPARE p AS SELECT 1
DISCARD PLANS
SET CONSTRAINTS ALL DEFERRED
SAVEPOINT s
LOCK TABLE parent IN ACCESS SHARE MODE
CALL idle()
DO $$BEGIN PERFORM 1; END$$
"""
"""What a standby does as well, but belongs to the session or its transaction. Kept few: they are all misses."""

PREPARED: Final = (
    Case("FETCH ALL FROM c", "DECLARE c CURSOR FOR SELECT 1"),
    Case("MOVE 1 IN c", "DECLARE c CURSOR FOR SELECT 1"),
    Case("CLOSE c", "DECLARE c CURSOR FOR SELECT 1"),
    Case("EXECUTE p", "DEALLOCATE ALL; PREPARE p AS SELECT 1"),
    Case("EXECUTE p", "DEALLOCATE ALL; PREPARE p AS INSERT INTO parent VALUES (9)"),
    Case("EXPLAIN ANALYZE EXECUTE p", "DEALLOCATE ALL; PREPARE p AS DELETE FROM parent"),
    Case("DEALLOCATE p", "DEALLOCATE ALL; PREPARE p AS SELECT 1"),
    Case("ROLLBACK TO s", "SAVEPOINT s"),
    Case("RELEASE s", "SAVEPOINT s"),
    Case("UPDATE parent SET label = 'y' WHERE CURRENT OF c", "DECLARE c CURSOR FOR SELECT * FROM parent FOR UPDATE"),
)
SHOWN: Final = [
    "server_version",
    "server_version_num",
    "server_encoding",
    "client_encoding",
    "standard_conforming_strings",
    "integer_datetimes",
    "max_identifier_length",
    "block_size",
    "search_path",
    "TimeZone",
    "DateStyle",
    "IntervalStyle",
    "application_name",
    "is_superuser",
    "session_authorization",
    "lc_messages",
]


SHADOWED: Final = """
SELECT initcap(1)
SELECT initcap(id) FROM parent
SELECT first(1)
SELECT "first"(1)
SELECT id, cube(id) FROM parent
SELECT system(1)
SELECT left(1)
SELECT join(1)
SELECT "timestamptz"(true)
SELECT timestamptz(true)
SELECT 'dark'::shade LIKE 'x'
SELECT 1 WHERE 'dark'::shade LIKE 'x'
SELECT pg_catalog."left"('abc', 2), left(7)
SELECT * FROM left(1)
SELECT id FROM parent ORDER BY first(id)
"""
"""Over `oracle_schema.SHADOWS`."""


def cases() -> Iterator[Case]:
    """All of them but the functions of pg_catalog, each once."""
    seen = set[Case]()
    for case in itertools.chain(_queries(), _others()):
        if case.sql.strip() and case not in seen:
            seen.add(case)
            yield case


def _queries() -> Iterator[Case]:
    yield from (Case(sql) for sql in QUERIES.strip().splitlines())
    for place, call in itertools.product(PLACES.strip().splitlines(), READING_CALLS.strip().splitlines()):
        yield Case(place.replace("{}", call))
    for name in SHOWN:
        yield Case(f"SHOW {name}")
    yield from (Case(sql) for sql in (*READS, *APPLICATIONS.strip().splitlines()))
    yield from (Case(sql, bare=True) for sql in READ_ONLY_TRANSACTIONS)
    yield from GUARDED


def _others() -> Iterator[Case]:
    for text in (SLY, WRITES, DEFINITIONS, SESSION):
        yield from (Case(sql) for sql in text.strip().splitlines())
    for place, call in itertools.product(PLACES.strip().splitlines(), WRITING_CALLS.strip().splitlines()):
        yield Case(place.replace("{}", call))
    yield from (Case(sql, bare=True) for sql in OUTSIDE.strip().splitlines())
    yield from PREPARED
    yield from (Case(sql) for sql in PRIMARY if not sql.startswith(_NOT_AGAIN))


_NOT_AGAIN: Final = (
    *("BEGIN", "START", "COMMIT", "END", "ROLLBACK", "ABORT", "SET", "RESET", "DISCARD", "PREPARE", "DECLARE", "SHOW"),
    *("SELECT pg_terminate", "SELECT pg_cancel", "SELECT pg_reload", "SELECT pg_switch", "SELECT pg_create", "COPY"),
    *("SELECT pg_stat_reset", "SAVEPOINT", "RELEASE", "FETCH", "MOVE", "CLOSE", "LISTEN", "UNLISTEN", "LOAD", "LOCK"),
)
"""Of the tables for the classifier: what has no meaning alone, disturbs others, or stands above already."""
