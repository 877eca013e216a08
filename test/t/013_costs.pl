# How many requests a statement leads to.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Mirror;

my (undef, $api) = mirror_node(undef, journal => PostgreSQL::Test::Utils::tempdir() . '/journal');

plain_table();

is(costs("UPDATE plain SET v = v"), '', 'an UPDATE that changes nothing sends nothing');
is(costs("UPDATE plain SET v = 'x' WHERE id = 1"), 'updates=1', 'an UPDATE that changes a row is one request');
is(costs("BEGIN; UPDATE plain SET v = 'y' WHERE id = 1; UPDATE plain SET v = 'x' WHERE id = 1; COMMIT"), '',
	'a row changed and changed back in one transaction sends nothing');
is(costs("INSERT INTO plain VALUES (801, 'x')"), 'creates=1', 'an INSERT is one request');
is(costs("DELETE FROM plain WHERE id = 801"), 'deletes=1', 'a DELETE is one request');
sql(q{
	CREATE TABLE partly (id int PRIMARY KEY, a text, b text);
	SELECT mixpeek.mirror('partly', 'partly', '{"metadata": {"a": "$a"}}');
	INSERT INTO partly SELECT g, 'a', 'b' FROM generate_series(1, 10) g;
});
is(differences('partly', 'partly', row => q{jsonb_build_object('a', t.a)}), '',
	'a template with one column: the documents have that column');
is(costs("UPDATE partly SET b = 'c'"), '', 'an UPDATE of a column that is not in the template sends nothing');
is(costs("UPDATE partly SET a = 'c', b = 'd' WHERE id <= 3"), 'updates=3',
	'an UPDATE of a column in the template is a request a row');

settle();
$api->stop;
sql(join(';', map { "UPDATE plain SET v = 'update $_' WHERE id = 1" } 1 .. 10));
wait_for('the worker to have tried', sub {
	sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'plain'::regclass AND state = 'pending'");
});
sql(join(';', map { "UPDATE plain SET v = 'later update $_' WHERE id = 1" } 1 .. 10));
$api->start;
is(differences('plain', 'plain'), '', 'updates while the API is down: the documents equal the rows in the end');
is($api->stats->{updates}, 1, 'twenty updates of a row while the API is down are one request when it is back');

done_testing();
