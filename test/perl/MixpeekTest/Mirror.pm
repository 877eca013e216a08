# What tests of mirrors share: statements, waiting, and the comparison of a table's rows with its documents.
#
#   use MixpeekTest;
#   use MixpeekTest::Mirror;
#
#   my ($node, $api) = mirror_node("max_prepared_transactions = 5");
#
#   sql("CREATE TABLE items (id int PRIMARY KEY, v text); SELECT mixpeek.mirror('items', 'items')");
#   follows('INSERT', 'items', "INSERT INTO items VALUES (1, 'x')");
#   is(costs("UPDATE items SET v = v"), '', 'an UPDATE that changes nothing sends nothing');
#
# The functions mean the node, and the API server, that mirror_node() has made, or use_node() was last called with.
package MixpeekTest::Mirror;
use strict;
use warnings;
use Exporter qw(import);
use JSON::PP;
use MixpeekTest;
use PostgreSQL::Test::Utils;
use Test::More;

our @EXPORT = qw(mirror_node use_node plain_table sql settle worker_pid log_lines mirrored_table records wait_for_states
  stored differences follows costs);

my ($node, $api);

# mirror_node(CONF, OPTION => VALUE...): a running node with the extension, and the API server of its foreign server
# mixpeek. CONF is appended to postgresql.conf; the options are MixpeekTest::Server's.
sub mirror_node
{
	my ($conf, %api_options) = @_;

	$node = mixpeek_node('main', "shared_preload_libraries = 'mixpeek_docs'\njit = off\n" . ($conf // ''));
	$api = MixpeekTest::Server->new(enrich => 'now', %api_options);
	create_server($node, 'mixpeek', $api);
	return ($node, $api);
}

# The mirrored table plain (id, v) with five rows.
sub plain_table
{
	sql(q{
		CREATE TABLE plain (id int PRIMARY KEY, v text);
		SELECT mixpeek.mirror('plain', 'plain');
		INSERT INTO plain SELECT g, 'v' || g FROM generate_series(1, 5) g;
	});
	return;
}

sub use_node
{
	($node, $api) = @_;
	return $node;
}

# sql(STATEMENTS, DATABASE, NODE): their output.
sub sql
{
	my ($statement, $database, $on) = @_;
	return ($on // $node)->safe_psql($database // 'postgres', $statement);
}

# Waits until all changes are mirrored, or have failed.
sub settle
{
	my ($database, $on) = @_;
	sql("SELECT mixpeek.wait('3 min')", $database, $on) eq 't' or die 'the mirror did not settle';
	return;
}

# The worker of the database postgres, '' where there is none.
sub worker_pid
{
	return sql(q{SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = 'postgres'});
}

# How many lines of the server's log match, from an offset on.
sub log_lines
{
	my ($pattern, $offset) = @_;
	return scalar(grep { $_ =~ $pattern } split(/\n/, slurp_file($node->logfile, $offset // 0)));
}

# A table (id, v) that is mirrored into the collection of its name.
sub mirrored_table
{
	my ($table, $server) = @_;
	sql(qq{
		CREATE TABLE $table (id text PRIMARY KEY, v text);
		SELECT mixpeek.mirror('$table', '$table', server => '$server', backfill => false)});
	return;
}

# The table's records in mixpeek.documents, by key; wait: seconds until next_attempt_at.
sub records
{
	my ($table) = @_;
	return decode_json(sql(qq{
		SELECT coalesce(json_object_agg(key, to_json(d.*)), '{}')
		FROM (SELECT *, extract(epoch FROM next_attempt_at - clock_timestamp()) AS wait FROM mixpeek.documents) d
		WHERE relation = '$table'::regclass}));
}

# Waits until the distinct states of the table's records are STATES ('failed,mirrored'), with dirty for entries of
# the outbox.
sub wait_for_states
{
	my ($table, $states) = @_;
	wait_for("$table to become $states", sub {
		return $states eq sql(qq{
			SELECT coalesce(string_agg(DISTINCT state, ',' ORDER BY state), '') FROM (
				SELECT state FROM mixpeek.documents WHERE relation = '$table'::regclass
				UNION ALL SELECT 'dirty' FROM mixpeek.outbox WHERE relation = '$table'::regclass) s});
	});
	return;
}

# The collection's documents as the API server has them, as a literal of type jsonb. It stays the text that came,
# since Perl's numbers are not PostgreSQL's.
sub stored
{
	my ($collection, $from) = @_;
	my $url = ($from // $api)->url . "/_control/documents?collection=$collection";
	return '$stored$' . MixpeekTest::Server::fetch('GET', $url) . '$stored$::jsonb';
}

# Where the table's rows, its records and the collection's documents differ, one line each: '' if they agree. Waits
# until the mirror has settled. The options: what the metadata should be (row), the key's text (key), database, node,
# server.
sub differences
{
	my ($table, $collection, %option) = @_;
	my $row = $option{row} // 'to_jsonb(t)';
	my $key = $option{key} // 't.id::text';
	my @where = ($option{database}, $option{node});

	settle(@where);
	return sql(qq{
		WITH rows AS (
			SELECT o.id || ':public.$table:' || $key AS marker, d.document_id, ($row)::text AS metadata
			  FROM $table t CROSS JOIN mixpeek.origin o
			  LEFT JOIN mixpeek.documents d
			    ON d.relation = '$table'::regclass AND d.collection = '$collection' AND d.key = $key
			       AND d.state = 'mirrored' AND NOT d.in_doubt AND d.last_error IS NULL AND d.attempts = 0),
		stored AS (
			SELECT x #>> '{metadata,mixpeek_docs}', x ->> 'document_id', ((x -> 'metadata') - 'mixpeek_docs')::text
			  FROM jsonb_array_elements(@{[ stored($collection, $option{server}) ]}) x)
		SELECT 'row: ' || x FROM (TABLE rows EXCEPT ALL TABLE stored) x
		UNION ALL
		SELECT 'document: ' || x FROM (TABLE stored EXCEPT ALL TABLE rows) x
		UNION ALL
		SELECT 'record: ' || d FROM mixpeek.documents d
		 WHERE relation = '$table'::regclass AND collection = '$collection'
		   AND document_id NOT IN (SELECT document_id FROM rows WHERE document_id IS NOT NULL)},
		@where);
}

# A test: after the statement the documents equal the rows of the table, whose collection has its name. The options
# are those of differences().
sub follows
{
	my ($name, $table, $statement, %option) = @_;
	sql($statement, $option{database});
	is(differences($table, $table, %option), '', "$name: the documents equal the rows");
	return;
}

# The requests that a statement leads to, as 'creates=1 updates=2'; '' if there are none.
sub costs
{
	my ($statement) = @_;
	settle();
	$api->reset;
	sql($statement);
	settle();
	my $stats = $api->stats;
	return join(' ', map { "$_=$stats->{$_}" } grep { $stats->{$_} } qw(creates updates deletes lists gets));
}

1;
