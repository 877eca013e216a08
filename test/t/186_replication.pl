# Logical replication of a database with mirrors: what publications publish of the extension's tables is not applied by
# a subscriber, whatever it has of its own.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;

my $api = MixpeekTest::Server->new(enrich => 'never');

sub new_node
{
	my ($name) = @_;
	my $node = mixpeek_node($name, q{
shared_preload_libraries = 'mixpeek_docs'
wal_level = logical
max_wal_senders = 10
max_replication_slots = 10
max_worker_processes = 20
wal_retrieve_retry_interval = 100
});
	create_server($node, 'mixpeek', $api);
	return $node;
}

sub make_table
{
	my ($node, $table) = @_;
	$node->safe_psql('postgres', "CREATE TABLE $table (id int PRIMARY KEY, v text)");
	return;
}

# The documents of a collection, as 'id value' by id.
sub there
{
	my ($collection) = @_;
	my @rows = sort { $a->{id} <=> $b->{id} } map { $_->{metadata} } @{ $api->documents($collection) };
	return join(', ', map { "$_->{id} $_->{v}" } @rows);
}

sub wait_until_mirrored
{
	my ($node) = @_;
	is($node->safe_psql('postgres', q{SELECT mixpeek.wait('2 min')}), 't', $node->name . ': wait() returns true');
	return;
}

sub state_of
{
	my ($node) = @_;
	return $node->safe_psql('postgres', q{
		SELECT relation, collection, key, document_id, marker, state FROM mixpeek.documents ORDER BY 1, 2, 3;
		SELECT id FROM mixpeek.origin; SELECT * FROM mixpeek.outbox; SELECT * FROM mixpeek.forgotten});
}

# Until the first copy of all tables of the subscription is there.
sub wait_until_copied
{
	my ($node) = @_;
	wait_for('the first copy', sub {
		$node->safe_psql('postgres', q{SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'}) == 0 });
	return;
}

my $publisher = new_node('publisher');
make_table($publisher, 't');
$publisher->safe_psql('postgres', q{
	INSERT INTO t SELECT g, 'x' FROM generate_series(1, 3) g; SELECT mixpeek.mirror('t', 'published');
	CREATE PUBLICATION everything FOR ALL TABLES});
wait_until_mirrored($publisher);

my $none = new_node('none');
my $own = new_node('own');
make_table($_, 't') foreach $none, $own;
make_table($own, 'u');
$own->safe_psql('postgres', q{
	SELECT mixpeek.mirror('t', 'own_t'); ALTER TABLE t ENABLE ALWAYS TRIGGER mixpeek;
	SELECT mixpeek.mirror('u', 'own_u'); INSERT INTO u VALUES (7, 'mine')});
wait_until_mirrored($own);

my $string = $publisher->connstr . ' dbname=postgres';
foreach my $subscriber ($none, $own)
{
	my $name = $subscriber->name;
	$subscriber->safe_psql('postgres', "CREATE SUBSCRIPTION $name CONNECTION '$string' PUBLICATION everything");
	wait_until_copied($subscriber);
	is($subscriber->safe_psql('postgres', q{
		SELECT string_agg(srrelid::regclass::text, ' ') FROM pg_subscription_rel}), 't',
		"$name: CREATE SUBSCRIPTION leaves out the extension's tables");
}

sub follows
{
	my ($what) = @_;
	foreach my $subscriber ($none, $own)
	{
		$publisher->wait_for_catchup($subscriber->name);
		is($subscriber->safe_psql('postgres', q{SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM t}),
			$publisher->safe_psql('postgres', q{SELECT string_agg(id || ' ' || v, ', ' ORDER BY id) FROM t}),
			"$what: the rows are replicated to " . $subscriber->name);
	}
	is(state_of($none), '', "$what: a subscriber without mirrors gets no records");
	wait_until_mirrored($own);
	like(there('own_t'), qr/3 x/, "$what: a mirror that is ENABLE ALWAYS mirrors what arrives");
	is(there('own_u'), '7 mine', "$what: another mirror of the subscriber has its own documents");
	wait_until_mirrored($publisher);
	return;
}

follows('the first copy');
$publisher->safe_psql('postgres', q{
	UPDATE t SET v = 'y' WHERE id = 1; DELETE FROM t WHERE id = 2; INSERT INTO t VALUES (4, 'z')});
follows('changes');
is(there('published'), '1 y, 3 x, 4 z', 'changes: the publisher has its documents, once');
is(there('own_t'), '1 y, 3 x, 4 z', 'changes: the subscriber has its documents, once');

# A table that the subscriber lacks, named in mixpeek.outbox and mixpeek.documents of the publisher. (A change of such a
# table itself stops a subscription, with or without the extension. UNLOGGED tables are not published.)
$publisher->safe_psql('postgres', q{CREATE UNLOGGED TABLE missing (id int PRIMARY KEY, v text);
	SELECT mixpeek.mirror('missing', 'missing'); INSERT INTO missing VALUES (1, 'x')});
follows('a table that only the publisher has');
is(there('missing'), '1 x', 'a table that only the publisher has: it is mirrored');

# REFRESH PUBLICATION subscribes to all tables again
make_table($_, 'later') foreach $publisher, $none, $own;
$publisher->safe_psql('postgres', q{SELECT mixpeek.mirror('later', 'later'); INSERT INTO later VALUES (1, 'x')});
foreach my $subscriber ($none, $own)
{
	my $name = $subscriber->name;
	$subscriber->safe_psql('postgres', "ALTER SUBSCRIPTION $name REFRESH PUBLICATION");
	is($subscriber->safe_psql('postgres', q{
		SELECT string_agg(srrelid::regclass::text, ' ' ORDER BY srrelid::regclass::text) FROM pg_subscription_rel}),
		'later t',
		"$name: ALTER SUBSCRIPTION leaves out the extension's tables");
	wait_until_copied($subscriber);
}
$publisher->safe_psql('postgres', q{INSERT INTO t VALUES (5, 'v'); INSERT INTO later VALUES (2, 'y')});
follows('after REFRESH PUBLICATION');
is(there('later'), '1 x, 2 y', 'after REFRESH PUBLICATION: the publisher has its documents, once');
is($none->safe_psql('postgres', 'SELECT count(*) FROM later'), 2, 'after REFRESH PUBLICATION: the rows are replicated');
foreach my $node ($none, $own)
{
	unlike(slurp_file($node->logfile), qr/ERROR|WARNING|nothing is mirrored/, $node->name . ': the log has no error');
}

done_testing();
