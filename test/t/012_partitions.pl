# Partitioned tables: rows that are written to the topmost table or to a partition, and rows that move.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my (undef, $api) = mirror_node();

sql(q{
	CREATE TABLE parted (region text, id int, v text, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
	CREATE TABLE parted_eu PARTITION OF parted FOR VALUES IN ('eu') PARTITION BY RANGE (id);
	CREATE TABLE parted_eu_1 PARTITION OF parted_eu FOR VALUES FROM (0) TO (100);
	CREATE TABLE parted_eu_2 PARTITION OF parted_eu FOR VALUES FROM (100) TO (200);
	CREATE TABLE parted_us (v text, id int NOT NULL, gone int, region text NOT NULL);
	ALTER TABLE parted_us DROP gone;
	INSERT INTO parted VALUES ('eu', 1, 'a');
	SELECT mixpeek.mirror('parted', 'parted');
	ALTER TABLE parted ATTACH PARTITION parted_us FOR VALUES IN ('us');
});
my %parted = (key => 'ROW(t.region, t.id)::text');
follows('INSERT into a partitioned table', 'parted',
	"INSERT INTO parted VALUES ('eu', 2, 'b'), ('eu', 150, 'c'), ('us', 1, 'd'), ('us', 5, 'e')", %parted);
follows('INSERT into and UPDATE of partitions directly', 'parted',
	"INSERT INTO parted_us VALUES ('f', 3, 'us'); UPDATE parted_eu_1 SET v = 'g' WHERE id = 2", %parted);
follows('rows that move to other partitions', 'parted',
	"UPDATE parted SET region = 'us' WHERE id = 2; UPDATE parted SET id = 120 WHERE id = 1 AND region = 'eu';
		UPDATE parted SET region = 'eu' WHERE id = 3", %parted);
follows('a row that moves to another partition and back in one transaction', 'parted',
	"BEGIN; UPDATE parted SET region = 'us' WHERE id = 3; UPDATE parted SET region = 'eu' WHERE id = 3; COMMIT",
	%parted);
follows('INSERT into a new partition', 'parted', "CREATE TABLE parted_as PARTITION OF parted FOR VALUES IN ('as');
	INSERT INTO parted VALUES ('as', 1, 'h')", %parted);
follows('DELETE from a partitioned table and from a partition', 'parted',
	"DELETE FROM parted WHERE id = 5; DELETE FROM parted_eu WHERE id = 150", %parted);
is(sql("SELECT DISTINCT relation FROM mixpeek.documents WHERE collection = 'parted'"), 'parted',
	'records of partitions belong to the topmost table');
sql(q{
	CREATE TABLE moving (id int, region text, v text, UNIQUE (id, region)) PARTITION BY LIST (region);
	CREATE TABLE moving_a PARTITION OF moving (id PRIMARY KEY) FOR VALUES IN ('a');
	CREATE TABLE moving_b PARTITION OF moving (id PRIMARY KEY) FOR VALUES IN ('b');
	CREATE TABLE hashed (id int PRIMARY KEY, v text) PARTITION BY HASH (id);
	CREATE TABLE hashed_0 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE hashed_1 PARTITION OF hashed FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	SELECT mixpeek.mirror('hashed', 'hashed');
	INSERT INTO hashed SELECT g, g FROM generate_series(1, 20) g;
});
follows('UPDATE of a key that moves its row to another partition', 'hashed',
	'UPDATE hashed SET id = id + 1000 WHERE id % 3 = 0', key => 't.id::text');
follows('TRUNCATE of a partitioned table', 'parted', 'TRUNCATE parted', %parted);
is(@{ $api->documents('parted') }, 0, 'TRUNCATE of a partitioned table leaves no document');

done_testing();
