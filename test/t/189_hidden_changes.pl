# Changes of rows, keys and definitions that fire no row trigger: what can be noticed makes the worker compare all rows
# and all records.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($node, $api) = mirror_node();

# A new table with three rows, mirrored into the collection of its name.
sub three_rows
{
	my ($table, $columns) = @_;
	$columns //= 'id int PRIMARY KEY, v text';
	sql(qq{
		CREATE TABLE $table ($columns);
		SELECT mixpeek.mirror('$table', '$table');
		INSERT INTO $table (id, v) VALUES (1, 'v1'), (2, 'v2'), (3, 'v3')});
	settle();
	return;
}

# The key

three_rows('t');
follows('key dropped, rows deleted, key added again in one transaction', 't', q{
	BEGIN; ALTER TABLE t DROP CONSTRAINT t_pkey; DELETE FROM t WHERE id = 2; UPDATE t SET v = 'new' WHERE id = 3;
	ALTER TABLE t ADD PRIMARY KEY (id); COMMIT});
sql('ALTER TABLE t DROP CONSTRAINT t_pkey');
sql("DELETE FROM t WHERE id = 3; INSERT INTO t VALUES (4, 'v4')");
follows('key dropped, rows changed, key added again in three transactions', 't', 'ALTER TABLE t ADD PRIMARY KEY (id)');
follows('another index as replica identity', 't', q{
	BEGIN; ALTER TABLE t DROP CONSTRAINT t_pkey; ALTER TABLE t ALTER id SET NOT NULL; DELETE FROM t WHERE id = 4;
	CREATE UNIQUE INDEX t_id ON t (id); ALTER TABLE t REPLICA IDENTITY USING INDEX t_id; COMMIT});
sql('DROP INDEX t_id');
sql("DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (6, 'v6')");
follows('a replica identity dropped, a primary key added', 't', 'ALTER TABLE t ADD PRIMARY KEY (id)');

# Triggers

three_rows('d');
follows('all triggers disabled and enabled again', 'd', q{
	ALTER TABLE d DISABLE TRIGGER ALL; DELETE FROM d WHERE id = 1; UPDATE d SET v = 'unseen' WHERE id = 2;
	INSERT INTO d VALUES (7, 'unseen'); ALTER TABLE d ENABLE TRIGGER ALL});
follows("the mirror's trigger disabled and enabled again in one transaction", 'd', q{
	BEGIN; ALTER TABLE d DISABLE TRIGGER mixpeek; DELETE FROM d WHERE id = 7; ALTER TABLE d ENABLE ALWAYS TRIGGER mixpeek;
	COMMIT});
sql("ALTER TABLE d ENABLE TRIGGER mixpeek");
follows('session_replication_role = replica, then ENABLE TRIGGER in that session', 'd', q{
	SET session_replication_role = replica; DELETE FROM d WHERE id = 2; ALTER TABLE d ENABLE TRIGGER USER});

# Partitions

sql(q{
	CREATE TABLE p (id int PRIMARY KEY, v text) PARTITION BY RANGE (id);
	CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (10);
	CREATE TABLE p2 PARTITION OF p FOR VALUES FROM (10) TO (20);
	CREATE TABLE p3 (id int PRIMARY KEY, v text);
	SELECT mixpeek.mirror('p', 'p');
	INSERT INTO p VALUES (1, 'a'), (2, 'b'), (11, 'c'), (12, 'd');
	INSERT INTO p3 VALUES (21, 'e'), (22, 'f');
});
settle();
follows('ATTACH PARTITION with rows', 'p', 'ALTER TABLE p ATTACH PARTITION p3 FOR VALUES FROM (20) TO (30)');
follows('TRUNCATE of a partition', 'p', 'TRUNCATE p3');
follows('DETACH PARTITION', 'p', 'ALTER TABLE p DETACH PARTITION p2');
sql('INSERT INTO p3 VALUES (23, $$g$$)');
follows('DETACH PARTITION CONCURRENTLY', 'p', 'ALTER TABLE p DETACH PARTITION p3 CONCURRENTLY');
follows('ATTACH PARTITION again, after changes', 'p', q{
	DELETE FROM p2 WHERE id = 11; UPDATE p2 SET v = 'D' WHERE id = 12;
	ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (10) TO (20)});
follows('DROP TABLE of a partition', 'p', 'DROP TABLE p2');
sql(q{
	CREATE TABLE p4 (id int NOT NULL, v text) PARTITION BY RANGE (id);
	CREATE TABLE p41 PARTITION OF p4 FOR VALUES FROM (40) TO (45);
	INSERT INTO p4 VALUES (41, 'deep'), (42, 'deeper')});
follows('ATTACH PARTITION of a partitioned table', 'p', 'ALTER TABLE p ATTACH PARTITION p4 FOR VALUES FROM (40) TO (50)');
sql("CREATE TABLE p42 (id int NOT NULL, v text); INSERT INTO p42 VALUES (46, 'deepest')");
follows('ATTACH PARTITION to a partition', 'p', 'ALTER TABLE p4 ATTACH PARTITION p42 FOR VALUES FROM (45) TO (50)');
follows('TRUNCATE of a partition of a partition', 'p', 'TRUNCATE p41');
follows("a partition's triggers disabled and enabled", 'p', q{
	ALTER TABLE p42 DISABLE TRIGGER ALL; DELETE FROM p42; ALTER TABLE p42 ENABLE TRIGGER ALL});
# Definitions

three_rows('c');
follows('ADD COLUMN ... DEFAULT with a template that has all columns', 'c', q{ALTER TABLE c ADD n int DEFAULT 7});
follows('RENAME COLUMN', 'c', 'ALTER TABLE c RENAME n TO m');
follows('ALTER COLUMN TYPE', 'c', 'ALTER TABLE c ALTER m TYPE text USING $$m$$ || m');
follows('DROP COLUMN', 'c', 'ALTER TABLE c DROP m');
sql("CREATE TYPE mood AS ENUM ('ok', 'bad'); CREATE DOMAIN temper AS mood; CREATE TYPE pair AS (a temper[], b int);
	ALTER TABLE c ADD m mood DEFAULT 'ok', ADD p pair; UPDATE c SET p = ('{ok,bad}', 1)");
is(differences('c', 'c'), '', 'ADD COLUMN of types: the documents equal the rows');
follows("an enum's value renamed", 'c', "ALTER TYPE mood RENAME VALUE 'ok' TO 'fine'");
follows("a composite type's attribute renamed", 'c', 'ALTER TYPE pair RENAME ATTRIBUTE b TO c CASCADE');
follows("a column of another table's row type renamed", 'c', q{
	CREATE TABLE other (a int); ALTER TABLE c ADD o other; UPDATE c SET o = ROW(1); ALTER TABLE other RENAME a TO b});
follows('DROP TYPE ... CASCADE', 'c', 'DROP TYPE mood CASCADE');

# Rows that the owner may read

sql(q{CREATE ROLE ann; GRANT CREATE ON SCHEMA public TO ann; GRANT USAGE ON FOREIGN SERVER mixpeek TO ann;
	CREATE USER MAPPING FOR ann SERVER mixpeek OPTIONS (api_key 'sk_test')});
three_rows('r');
sql('ALTER TABLE r OWNER TO ann; CREATE POLICY few ON r USING (id < 3)');
settle();
is(@{ $api->documents('r') }, 3, 'a policy that is not forced on the owner hides no row from the mirror');
sql('ALTER TABLE r ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY');
settle();
is(@{ $api->documents('r') }, 2, 'FORCE ROW LEVEL SECURITY: the documents of hidden rows are deleted');
sql('ALTER POLICY few ON r USING (id < 2)');
settle();
is(@{ $api->documents('r') }, 1, 'ALTER POLICY: the documents of hidden rows are deleted');
sql('CREATE POLICY more ON r USING (id > 1)');
settle();
is(@{ $api->documents('r') }, 3, 'CREATE POLICY: rows that are shown get documents');
sql('DROP POLICY more ON r');
settle();
is(@{ $api->documents('r') }, 1, 'DROP POLICY: the documents of hidden rows are deleted');

# Unlogged tables

sql(q{CREATE UNLOGGED TABLE u (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('u', 'u');
	INSERT INTO u VALUES (1, 'x'), (2, 'y')});
is(differences('u', 'u'), '', 'an unlogged table is mirrored');
$node->stop('immediate');
$node->start;
is(differences('u', 'u'), '', 'an unlogged table after a crash: the documents of the rows that are gone are deleted');
is(@{ $api->documents('u') }, 0, 'an unlogged table after a crash: no document is left');

# Inheritance

three_rows('i');
sql("CREATE TABLE child () INHERITS (i); INSERT INTO child VALUES (9, 'child'); SELECT mixpeek.mirror('i', 'i')");
settle();
is(@{ $api->documents('i') }, 3, 'rows of inheritance children are not mirrored');

# What the outbox holds after a command, while the worker is paused

three_rows('h');
$node->append_conf('postgresql.conf', 'mixpeek.enabled = off');
$node->restart;

# The operations of the entries that a statement has left, of all tables; without those that have keys' definitions
# compared, which costs nothing.
sub entries_after
{
	my ($statement) = @_;
	sql('DELETE FROM mixpeek.outbox');
	sql($statement);
	return sql("SELECT coalesce(string_agg(operation::text, '' ORDER BY operation), '') FROM mixpeek.outbox
		WHERE operation <> 'C'");
}

for my $harmless (
	'ALTER TABLE h ALTER v SET DEFAULT $$x$$', 'ALTER TABLE h ALTER v SET STATISTICS 10',
	'ALTER TABLE h ALTER v SET STORAGE EXTERNAL', 'ALTER TABLE h ALTER v SET NOT NULL',
	'ALTER TABLE h ADD CONSTRAINT v_check CHECK (v <> $$$$) NOT VALID', 'ALTER TABLE h VALIDATE CONSTRAINT v_check',
	'ALTER TABLE h DROP CONSTRAINT v_check', 'ALTER TABLE h SET (fillfactor = 70)', 'ALTER TABLE h CLUSTER ON h_pkey',
	'ALTER TABLE h REPLICA IDENTITY FULL', 'ALTER TABLE h DISABLE TRIGGER ALL', 'CREATE INDEX ON h (v)', 'VACUUM FULL h',
	'CLUSTER h', 'REINDEX TABLE h', 'ALTER TABLE h OWNER TO ann', 'ALTER TABLE h OWNER TO CURRENT_USER', 'CREATE TABLE p5 PARTITION OF p FOR VALUES FROM (50) TO (60)',
	'ALTER TABLE h RENAME TO h2', 'CREATE SCHEMA s; ALTER TABLE h2 SET SCHEMA s; ALTER SCHEMA s RENAME TO s2',
	'ALTER TABLE s2.h2 RENAME CONSTRAINT h_pkey TO h2_pkey; ALTER TABLE s2.h2 SET SCHEMA public; ALTER TABLE h2 RENAME TO h',
	'CREATE TYPE colour AS ENUM ($$red$$); ALTER TYPE colour ADD VALUE $$blue$$',
	'CREATE TABLE n (id int PRIMARY KEY); ALTER TABLE n ADD v text; ALTER TABLE n RENAME v TO w; TRUNCATE n; DROP TABLE n',
	'BEGIN; SAVEPOINT s; ALTER TABLE c ADD n int; ROLLBACK TO s; COMMIT')
{
	is(entries_after($harmless), '', "$harmless is no reason to compare rows");
}
is(entries_after('ALTER TABLE h ENABLE TRIGGER ALL'), 'BT', 'ENABLE TRIGGER is a reason to compare rows and records');
is(entries_after('TRUNCATE p'), 'T', 'TRUNCATE of a partitioned table leaves one entry');

done_testing();
