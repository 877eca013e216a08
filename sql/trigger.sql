-- The trigger's side: which keys reach the outbox. (No worker runs in this test.)
SET client_min_messages = warning;
CREATE EXTENSION mixpeek_docs;
RESET client_min_messages;
CREATE VIEW entries AS SELECT relation, operation, collection, key FROM mixpeek.outbox;
CREATE FUNCTION take() RETURNS TABLE (relation regclass, operation "char", collection text, key text) LANGUAGE sql AS
    'WITH d AS (DELETE FROM mixpeek.outbox RETURNING ctid, *) SELECT relation, operation, collection, key FROM d ORDER BY d.ctid';
CREATE TABLE t (id int PRIMARY KEY, a text, b text);
-- by hand, with a template that uses one column
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON t
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"a": "$a"}}');
CREATE TRIGGER mixpeek_truncate AFTER TRUNCATE ON t EXECUTE FUNCTION mixpeek.mirror_row('c');
SELECT * FROM mixpeek.mirrors;

INSERT INTO t VALUES (1, 'x', 'y'), (2, NULL, NULL);
SELECT * FROM take();
UPDATE t SET b = 'not mirrored';
UPDATE t SET a = a;
SELECT * FROM take();
UPDATE t SET a = 'z';
UPDATE t SET id = 3 WHERE id = 2;
DELETE FROM t WHERE id = 3;
SELECT * FROM take();
INSERT INTO t VALUES (1, 'conflict') ON CONFLICT (id) DO UPDATE SET a = 'upsert';
INSERT INTO t VALUES (1, 'conflict') ON CONFLICT DO NOTHING;
COPY t FROM stdin;
10	copied	\N
11	copied	\N
\.
SELECT * FROM take();
TRUNCATE t;
SELECT * FROM take();

-- nothing that was rolled back is seen
BEGIN; INSERT INTO t VALUES (1); ROLLBACK;
BEGIN;
INSERT INTO t VALUES (1);
SAVEPOINT a;
INSERT INTO t VALUES (2);
SAVEPOINT b;
INSERT INTO t VALUES (3);
RELEASE b;
ROLLBACK TO a;
INSERT INTO t VALUES (4);
SAVEPOINT c;
INSERT INTO t VALUES (5);
RELEASE c;
COMMIT;
SELECT * FROM take();
DO $$ BEGIN
    FOR i IN 100..102 LOOP
        BEGIN
            INSERT INTO t VALUES (i);
            IF i = 101 THEN RAISE division_by_zero; END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END $$;
SELECT * FROM take();

-- more than the buffer holds: written early, and still taken back
INSERT INTO t SELECT i FROM generate_series(1001, 31000) i;
SELECT count(*), count(DISTINCT key) FROM take();
BEGIN;
INSERT INTO t SELECT i FROM generate_series(40001, 40010) i;
SAVEPOINT a;
INSERT INTO t SELECT i FROM generate_series(41001, 61000) i;
ROLLBACK TO a;
INSERT INTO t VALUES (90001);
COMMIT;
SELECT count(*), count(DISTINCT key), max(key) FROM take();
DO $$ BEGIN
    FOR i IN 100001..120000 LOOP
        BEGIN
            INSERT INTO t VALUES (i);
            IF i % 2 = 0 THEN RAISE division_by_zero; END IF;
        EXCEPTION WHEN division_by_zero THEN NULL;
        END;
    END LOOP;
END $$;
SELECT count(*), count(DISTINCT key) FROM take();
DROP TABLE t;
SELECT * FROM entries;

-- keys: several columns, values that need quotes, types whose text depends on settings
CREATE TABLE k (a text, b date, PRIMARY KEY (a, b));
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON k FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
SET datestyle = 'German';
INSERT INTO k VALUES ('x y', '2020-12-31'), ('', '2020-12-31'), (E'q"\\,()', '2020-12-31'), ('plain', 'infinity');
SET datestyle = 'ISO';
SELECT key, key = ROW(a, b)::text AS row_text FROM mixpeek.outbox JOIN k ON key = ROW(a, b)::text ORDER BY 1;
RESET datestyle;
SELECT count(*) FROM take();
CREATE TABLE u (id uuid NOT NULL, v int);
CREATE UNIQUE INDEX u_id ON u (id);
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON u FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
ALTER TABLE u REPLICA IDENTITY USING INDEX u_id;
INSERT INTO u VALUES ('00000000-0000-0000-0000-000000000001');
SELECT * FROM take();
-- a table that loses its key: the worker is to look at every row
DROP INDEX u_id;
INSERT INTO u VALUES ('00000000-0000-0000-0000-000000000002'), ('00000000-0000-0000-0000-000000000003');
SELECT * FROM take();
SELECT relation, problem FROM mixpeek.mirrors ORDER BY 1;
DROP TABLE k, u;

-- partitions: one mirror, named by the topmost table, rows may move
CREATE TABLE p (id int, part text, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
CREATE TABLE p_a PARTITION OF p FOR VALUES IN ('a');
CREATE TABLE p_b (junk int, id int NOT NULL, part text NOT NULL, PRIMARY KEY (part, id));
ALTER TABLE p_b DROP COLUMN junk;
ALTER TABLE p ATTACH PARTITION p_b FOR VALUES IN ('b');
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON p FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
INSERT INTO p VALUES (1, 'a'), (2, 'b');
UPDATE p SET part = 'b' WHERE id = 1;
INSERT INTO p_b (part, id) VALUES ('b', 3);
SELECT * FROM take();
SELECT relation, collection FROM mixpeek.mirrors;
DROP TABLE p;

-- MERGE (from PostgreSQL 15 on), a deferred trigger, a prepared transaction, two collections
CREATE TABLE m (id int PRIMARY KEY, v int);
CREATE CONSTRAINT TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON m DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER second AFTER INSERT ON m FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d');
INSERT INTO m VALUES (1, 1);
SELECT current_setting('server_version_num')::int >= 150000 AS has_merge \gset
\if :has_merge
MERGE INTO m USING (VALUES (1), (2)) s (id) ON m.id = s.id
    WHEN MATCHED THEN UPDATE SET v = 2 WHEN NOT MATCHED THEN INSERT VALUES (s.id, 0);
\else
UPDATE m SET v = 2 WHERE id = 1;
INSERT INTO m VALUES (2, 0);
\endif
SELECT * FROM take() ORDER BY collection, key, operation;
SELECT current_setting('max_prepared_transactions')::int > 0 AS can_prepare \gset
\if :can_prepare
BEGIN; INSERT INTO m VALUES (5); PREPARE TRANSACTION 'mixpeek_trigger';
\endif
SELECT * FROM take();
\if :can_prepare
COMMIT PREPARED 'mixpeek_trigger';
\else
INSERT INTO m VALUES (5);
\endif
SELECT * FROM take() ORDER BY collection;
ALTER TABLE m DISABLE TRIGGER ALL;
INSERT INTO m VALUES (6);
SELECT * FROM take();
DROP TABLE m;

-- the writer needs no right but the one on the table, and no search path
CREATE ROLE regress_mixpeek_writer;
CREATE SCHEMA closed;
CREATE TYPE closed.color AS ENUM ('red');
CREATE TABLE w (c closed.color PRIMARY KEY, v text);
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON w FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
GRANT INSERT ON w TO regress_mixpeek_writer;
ALTER TABLE w ENABLE ROW LEVEL SECURITY;
CREATE POLICY writer ON w FOR INSERT TO regress_mixpeek_writer WITH CHECK (true);
SET ROLE regress_mixpeek_writer;
SET search_path = '';
INSERT INTO public.w VALUES ('red');
RESET search_path;
RESET ROLE;
SELECT * FROM take();

-- DROP TRIGGER, DROP TABLE and unmirror leave nothing behind
INSERT INTO w SELECT 'red' ON CONFLICT (c) DO UPDATE SET v = 'x';
INSERT INTO mixpeek.documents (relation, collection, key, state, server, marker) VALUES ('w', 'c', 'red', 'mirrored', 'mixpeek', 'm');
DROP TRIGGER mixpeek ON w;
SELECT (SELECT count(*) FROM mixpeek.documents), (SELECT count(*) FROM mixpeek.outbox);
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON w FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
UPDATE w SET v = 'y';
INSERT INTO mixpeek.documents (relation, collection, key, state, server, marker) VALUES ('w', 'c', 'red', 'mirrored', 'mixpeek', 'm');
DROP SCHEMA closed CASCADE;
SELECT problem FROM mixpeek.mirrors;
DROP TABLE w;
SELECT (SELECT count(*) FROM mixpeek.documents), (SELECT count(*) FROM mixpeek.outbox);
DROP ROLE regress_mixpeek_writer;

-- a list of columns may leave out what is not mirrored, and says so where it leaves out more
CREATE TABLE l (id int PRIMARY KEY, a text, b text, c text);
CREATE TRIGGER m AFTER INSERT OR DELETE OR UPDATE OF a ON l FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"a": "$a", "b": "$b"}}');
DROP TRIGGER m ON l;
CREATE TRIGGER m AFTER INSERT OR DELETE OR UPDATE OF id, a, b ON l FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"a": "$a", "b": "$b"}}');
CREATE TRIGGER added AFTER INSERT ON l FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('d');
INSERT INTO l VALUES (1, 'x', 'y', 'z');
UPDATE l SET c = 'w';
SELECT * FROM take();
UPDATE l SET b = 'w';
UPDATE l SET id = 2;
SELECT * FROM take();
DROP TABLE l;

-- attached in a wrong way
CREATE TABLE x (id int PRIMARY KEY);
CREATE TABLE nokey (id int);
CREATE TRIGGER m BEFORE INSERT ON x FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER m AFTER INSERT ON x FOR EACH STATEMENT EXECUTE FUNCTION mixpeek.mirror_row('c');
CREATE TRIGGER m AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row();
CREATE TRIGGER m AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'colour=red');
CREATE TRIGGER m AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={');
CREATE TRIGGER m AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"a": "$a"}}');
CREATE TRIGGER m AFTER INSERT ON x FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document_id_column=nope');
CREATE TRIGGER m AFTER INSERT ON nokey FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
SELECT mixpeek.mirror_row();
SELECT mixpeek.wait();
DROP TABLE x, nokey;
DROP FUNCTION take;
DROP VIEW entries;
DROP EXTENSION mixpeek_docs;
