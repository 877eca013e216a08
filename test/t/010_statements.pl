# Whatever statement changes a mirrored table: afterwards the API has exactly one document a row, with exactly the row's
# content.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my ($node, $api) = mirror_node("max_prepared_transactions = 5\nmax_worker_processes = 20");

# Statements

sql(q{
	CREATE TABLE plain (id int PRIMARY KEY, v text);
	INSERT INTO plain SELECT g, 'before ' || g FROM generate_series(1, 2500) g;
});
follows('mirror() of a table with 2,500 rows', 'plain', "SELECT mixpeek.mirror('plain', 'plain')");
is($api->stats->{duplicates}, 0, 'mirror() of a table with 2,500 rows: no duplicates');
follows('DELETE of many rows', 'plain', 'DELETE FROM plain WHERE id > 5');
follows('INSERT', 'plain', "INSERT INTO plain VALUES (101, 'x'), (102, 'y'), (103, NULL)");
follows('UPDATE', 'plain', "UPDATE plain SET v = v || '!' WHERE id <> 1");
follows('UPDATE to null', 'plain', "UPDATE plain SET v = NULL WHERE id = 2");
follows('UPDATE of one key', 'plain', 'UPDATE plain SET id = 201 WHERE id = 101');
follows('UPDATE of one key, back to what it was', 'plain', 'UPDATE plain SET id = 101 WHERE id = 201');
follows('UPDATE of all keys', 'plain', 'UPDATE plain SET id = id + 1000');
follows('two rows that exchange their keys', 'plain', q{
	BEGIN;
	UPDATE plain SET id = -1 WHERE id = 1101;
	UPDATE plain SET id = 1101 WHERE id = 1102;
	UPDATE plain SET id = 1102 WHERE id = -1;
	COMMIT});
follows('DELETE of one row', 'plain', 'DELETE FROM plain WHERE id = 1001');
follows('a row deleted and inserted again in one transaction', 'plain',
	"BEGIN; DELETE FROM plain WHERE id = 1002; INSERT INTO plain VALUES (1002, 'again'); COMMIT");
follows('COPY', 'plain', "COPY plain FROM STDIN;\n1\tcopied\n2\t\\N\n3\ttab\\tand \"quotes\"\n\\.\n");
follows('ON CONFLICT', 'plain', q{
	INSERT INTO plain VALUES (1, 'upsert'), (7, 'inserted') ON CONFLICT (id) DO UPDATE SET v = EXCLUDED.v;
	INSERT INTO plain VALUES (1, 'nothing') ON CONFLICT DO NOTHING});
follows('MERGE', 'plain', q{
	MERGE INTO plain p USING (VALUES (1, 'merged'), (2, NULL), (8, 'new')) AS n (id, v) ON p.id = n.id
	 WHEN MATCHED AND n.v IS NULL THEN DELETE
	 WHEN MATCHED THEN UPDATE SET v = n.v
	 WHEN NOT MATCHED THEN INSERT VALUES (n.id, n.v)}) if $node->pg_version >= 15;
follows('a data-modifying WITH', 'plain', q{
	WITH gone AS (DELETE FROM plain WHERE id = 7 RETURNING *) INSERT INTO plain SELECT id + 10, v FROM gone});
follows('savepoints', 'plain', q{
	BEGIN;
	INSERT INTO plain VALUES (301, 'stays');
	SAVEPOINT a;
	INSERT INTO plain VALUES (302, 'goes');
	UPDATE plain SET v = 'goes' WHERE id = 301;
	SAVEPOINT b;
	DELETE FROM plain WHERE id = 301;
	RELEASE b;
	ROLLBACK TO a;
	INSERT INTO plain VALUES (303, 'stays');
	SAVEPOINT c;
	UPDATE plain SET v = 'stays, too' WHERE id = 303;
	RELEASE c;
	COMMIT});
follows('errors that are caught', 'plain', q{
	DO $$
	BEGIN
		FOR i IN 401 .. 410 LOOP
			BEGIN
				INSERT INTO plain VALUES (i, 'even numbers stay');
				PERFORM 1 / (1 - i % 2);
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		END LOOP;
	END $$});
is(sql('SELECT count(*) FROM plain WHERE id BETWEEN 401 AND 410'), '5',
	'errors that are caught: half of the rows stay');
is(costs("BEGIN; INSERT INTO plain VALUES (501, 'x'); UPDATE plain SET v = 'x'; DELETE FROM plain WHERE id = 1;
	ROLLBACK"), '',
	'a rolled back transaction sends nothing');
is(sql('SELECT count(*) FROM mixpeek.outbox'), '0', 'a rolled back transaction leaves no entry in the outbox');
follows('a rolled back transaction', 'plain', '');
is(costs("BEGIN; INSERT INTO plain VALUES (501, 'x'); UPDATE plain SET v = 'y' WHERE id = 501; DELETE FROM plain
	WHERE id = 501; COMMIT"), '',
	'a row inserted and deleted in one transaction sends nothing');

# Prepared transactions

sql("BEGIN; INSERT INTO plain VALUES (601, 'prepared'); UPDATE plain SET v = 'prepared' WHERE id = 3;
	PREPARE TRANSACTION 'one'");
sql("BEGIN; INSERT INTO plain VALUES (602, 'prepared'); DELETE FROM plain WHERE id = 8; PREPARE TRANSACTION 'two'");
follows('a prepared transaction before COMMIT PREPARED', 'plain', '');
$node->restart;
follows('a prepared transaction after a restart of the server', 'plain', '');
follows('COMMIT PREPARED', 'plain', "COMMIT PREPARED 'one'");
is(sql('SELECT v FROM plain WHERE id = 601'), 'prepared', 'COMMIT PREPARED: the row is there');
is(costs("ROLLBACK PREPARED 'two'"), '', 'ROLLBACK PREPARED sends nothing');
follows('ROLLBACK PREPARED', 'plain', '');

# TRUNCATE

follows('TRUNCATE that is rolled back', 'plain', 'BEGIN; TRUNCATE plain; ROLLBACK');
follows('TRUNCATE and INSERT in one transaction', 'plain', q{
	BEGIN; INSERT INTO plain VALUES (701, 'goes'); TRUNCATE plain; INSERT INTO plain VALUES (1002, 'comes back'),
		(702, 'new'); COMMIT});
is(@{ $api->documents('plain') }, 2, 'TRUNCATE and INSERT in one transaction: two documents are left');
follows('TRUNCATE', 'plain', 'TRUNCATE plain');
is(@{ $api->documents('plain') }, 0, 'TRUNCATE leaves no document');

done_testing();
