-- Statements that set no column of the document pass the trigger by; all others call it.
SET client_min_messages = warning;
CREATE EXTENSION mixpeek_docs;
RESET client_min_messages;
CREATE FUNCTION take() RETURNS TABLE (relation regclass, operation "char", collection text, key text) LANGUAGE sql AS
    'WITH d AS (DELETE FROM mixpeek.outbox RETURNING ctid, *) SELECT relation, operation, collection, key FROM d ORDER BY d.ctid';
-- which triggers a statement calls, and how often
CREATE FUNCTION calls(statement text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE line text;
BEGIN
    FOR line IN EXECUTE 'EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) ' || statement LOOP
        IF line LIKE '%Trigger%' THEN RETURN NEXT line; END IF;
    END LOOP;
END $$;
CREATE TABLE t (id int PRIMARY KEY, a text, b text, n int DEFAULT 0, g int GENERATED ALWAYS AS (n * 2) STORED);
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON t
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"a": "$a"}}');
INSERT INTO t SELECT i, 'x', 'y' FROM generate_series(1, 3) i;
SELECT count(*) FROM take();

SELECT calls('UPDATE t SET b = $$new$$, n = n + 1');
SELECT calls('UPDATE t SET a = $$new$$ WHERE id = 1');
SELECT calls('UPDATE t SET id = 4 WHERE id = 3');
SELECT calls('UPDATE t SET (b, a) = ($$b$$, $$a$$) WHERE id = 1');
SELECT calls('DELETE FROM t WHERE id = 4');
SELECT * FROM take();
-- the same prepared statement, before and after the document's columns change
PREPARE set_b AS UPDATE t SET b = $1 WHERE id = 1;
EXECUTE set_b('one');
SELECT * FROM take();
CREATE OR REPLACE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON t
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"a": "$a", "b": "$b"}}');
EXECUTE set_b('two');
SELECT * FROM take();
-- a generated column of the document follows another one
CREATE OR REPLACE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON t
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"g": "$g"}}');
UPDATE t SET n = 100 WHERE id = 2;
SELECT * FROM take();
-- the default document has all columns
CREATE OR REPLACE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON t
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c');
UPDATE t SET b = 'all' WHERE id = 2;
SELECT * FROM take();
CREATE OR REPLACE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON t
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"a": "$a"}}');
-- INSERT keeps its trigger, whatever ON CONFLICT sets
INSERT INTO t VALUES (1, 'x', 'conflict'), (7, 'x', 'new') ON CONFLICT (id) DO UPDATE SET b = excluded.b;
SELECT * FROM take();
INSERT INTO t VALUES (1, 'y', 'conflict') ON CONFLICT (id) DO UPDATE SET a = excluded.a;
SELECT * FROM take();
-- MERGE, where there is one
DO $$ BEGIN
    IF current_setting('server_version_num')::int >= 150000 THEN
        EXECUTE $m$MERGE INTO t USING (VALUES (1), (8)) s (id) ON t.id = s.id
            WHEN MATCHED THEN UPDATE SET b = 'merged' WHEN NOT MATCHED THEN INSERT (id, n) VALUES (s.id, 4)$m$;
        EXECUTE $m$MERGE INTO t USING (VALUES (1), (2)) s (id) ON t.id = s.id
            WHEN MATCHED AND t.id = 1 THEN UPDATE SET b = 'merged' WHEN MATCHED THEN UPDATE SET a = 'merged'$m$;
    ELSE
        INSERT INTO t (id, n) VALUES (8, 4);
        UPDATE t SET a = 'merged' WHERE id = 2;
    END IF;
END $$;
SELECT * FROM take();
SELECT id, n, g FROM t WHERE id = 8;
-- statements within a statement
WITH u AS (UPDATE t SET a = 'within' WHERE id = 1 RETURNING id) UPDATE t SET b = 'outside' WHERE id = 2;
WITH u AS (UPDATE t SET b = 'within' WHERE id = 1 RETURNING id) UPDATE t SET a = 'outside' WHERE id = 2;
SELECT * FROM take();
-- through a view, whose columns have other numbers
CREATE VIEW v AS SELECT b AS other, a AS name, id FROM t;
UPDATE v SET other = 'v' WHERE id = 1;
UPDATE v SET name = 'v' WHERE id = 1;
SELECT * FROM take();
-- other people's triggers are called as ever
CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% %', TG_NAME, NEW.id; RETURN NEW; END $$;
CREATE TRIGGER a_after AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION say();
CREATE TRIGGER z_after AFTER UPDATE ON t FOR EACH ROW EXECUTE FUNCTION say();
UPDATE t SET b = 'said' WHERE id = 1;
UPDATE t SET a = 'said' WHERE id = 1;
SELECT * FROM take();
DROP TRIGGER a_after ON t;
DROP TRIGGER z_after ON t;
-- a BEFORE trigger may change any column
CREATE FUNCTION change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := NEW.b; RETURN NEW; END $$;
CREATE TRIGGER change BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION change();
UPDATE t SET b = 'changed' WHERE id = 1;
SELECT * FROM take();
DROP TRIGGER change ON t;
-- a foreign key's actions
CREATE TABLE parent (id int PRIMARY KEY);
INSERT INTO parent VALUES (1), (2);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON UPDATE CASCADE ON DELETE SET NULL, b text);
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON child
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('c', 'document={"metadata": {"parent": "$parent"}}');
INSERT INTO child VALUES (10, 1), (20, 2);
SELECT count(*) FROM take();
UPDATE parent SET id = 3 WHERE id = 1;
DELETE FROM parent WHERE id = 2;
UPDATE child SET b = 'not mirrored';
SELECT * FROM take();
-- partitions, whose columns have other numbers
CREATE TABLE p (region text, id int, name text, noise int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE p_eu PARTITION OF p FOR VALUES IN ('eu');
CREATE TABLE p_us (noise int, gone int, name text, id int NOT NULL, region text NOT NULL);
ALTER TABLE p_us DROP COLUMN gone;
ALTER TABLE p ATTACH PARTITION p_us FOR VALUES IN ('us');
CREATE TRIGGER mixpeek AFTER INSERT OR UPDATE OR DELETE ON p
    FOR EACH ROW EXECUTE FUNCTION mixpeek.mirror_row('p', 'document={"metadata": {"name": "$name"}}');
INSERT INTO p VALUES ('eu', 1, 'one'), ('us', 2, 'two');
SELECT count(*) FROM take();
SELECT calls('UPDATE p SET noise = 1');
UPDATE p_us SET noise = 2;
SELECT * FROM take();
UPDATE p SET name = name || '!';
SELECT * FROM take();
UPDATE p SET region = 'us' WHERE id = 1;
SELECT * FROM take();
-- a partition's own BEFORE trigger
CREATE FUNCTION rename() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := 'renamed'; RETURN NEW; END $$;
CREATE TRIGGER rename BEFORE UPDATE ON p_us FOR EACH ROW EXECUTE FUNCTION rename();
UPDATE p SET noise = 3;
SELECT * FROM take();
-- a table that lost its key is looked at as a whole
ALTER TABLE t DROP CONSTRAINT t_pkey;
UPDATE t SET b = 'no key' WHERE id = 1;
SELECT * FROM take();
DROP TABLE t, child, parent, p CASCADE;
DROP FUNCTION take, calls, say, change, rename;
DROP EXTENSION mixpeek_docs;
