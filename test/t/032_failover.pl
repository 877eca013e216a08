# A standby that is promoted, and a base backup that is started by itself.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;
use MixpeekTest::Mirror;
use MixpeekTest::Worker;

my ($node, $api) = worker_node();
set_up('postgres');
wait_for_worker('postgres');
sql("INSERT INTO t VALUES (1, 'x')");
settle();

my $key = $MixpeekTest::Worker::key;
my %after = (kind => 'delay', ms => 600000, when => 'after');
sql("INSERT INTO t VALUES (20, 'before the standby')");


settle();
$node->backup('backup');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'backup', has_streaming => 1);
$standby->append_conf('postgresql.conf', "synchronous_commit = on\n");
$standby->start;
is($standby->safe_psql('postgres', q{SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'mixpeek_docs%'}),
	'0', 'a standby: neither launcher nor worker runs');
sql("INSERT INTO t VALUES (60, 'before the failover'); UPDATE t SET v = 'updated' WHERE id = 20");
settle();
# What the worker stores is not flushed at once, and what is not flushed is not sent.
ok($standby->poll_query_until('postgres', "SELECT count(*) = 1 FROM mixpeek.documents WHERE relation = 't'::regclass
	AND key = '60' AND document_id IS NOT NULL"),
	'a standby: it has the records of the primary');

# The primary dies with a request under way whose work was done.
hang_for_the_next(61, %after);
$node->wait_for_catchup($standby);
$node->stop('immediate');
$api->faults();
is($api->stats->{creates}, 1, 'the primary dies in a create');
$standby->promote;
is($standby->safe_psql('postgres', "SELECT mixpeek.wait('3 min')"), 't', 'after promotion: wait() returns true');
is($api->stats->{creates}, 1, 'after promotion: the create is not repeated');
is($api->stats->{duplicates}, 0, 'after promotion: no duplicates');
$standby->safe_psql('postgres', "INSERT INTO t VALUES (62, 'after the failover'); DELETE FROM t WHERE id = 60");
is($standby->safe_psql('postgres', "SELECT mixpeek.wait('3 min')"), 't',
	'after promotion: wait() for new changes returns true');
is(there('postgres'), $standby->safe_psql('postgres', q{SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM t}),
	'after promotion: the documents equal the rows');

# A base backup that is started by itself is no failover, so it must not send anything.
my $rows = there('postgres');
$standby->stop;
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'backup');
$restored->start;
$api->reset;
$restored->safe_psql('postgres', "UPDATE t SET v = 'in the backup'; DELETE FROM t WHERE id = 1");
wait_for('the worker to say so', sub { slurp_file($restored->logfile) =~ /nothing is mirrored: this server runs at/ });
my ($rc, $out, $err) = $restored->psql('postgres', "SELECT mixpeek.wait('1 s')");
like($err, qr/nothing is mirrored: this server runs at .*, and its documents belong to/,
	'a base backup that is started: wait() fails, and says why');
is($api->stats->{requests}, 0, 'a base backup that is started sends nothing');
$restored->stop;
is(there('postgres'), $rows, 'a base backup that is started leaves the documents as they were');

foreach my $one ($node, $standby)
{
	ok(index(slurp_file($one->logfile), $key) < 0, 'the log of ' . $one->name . ' does not have the key');
}

done_testing();
