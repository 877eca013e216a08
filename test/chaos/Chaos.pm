# The proof that no change is lost and no document doubled: what 020_chaos.pl is made of.
#
#   my $chaos = Chaos->new(name => 'proof', conf => '...', install_path => ..., standby => 1);
#   $chaos->round(events => 8, failover => 1);      # writers, kills, faults
#   my $wrong = $chaos->compare;                    # after they have stopped
#
# compare() returns { lost, doubled, stray, stuck }, each a list of texts that say what is wrong: keys
# without a document with exactly the row's content, keys with several documents, documents without a row,
# and what is left in the outbox or in a state other than mirrored.
package Chaos;
use strict;
use warnings;
use FindBin;
use IPC::Run ();
use JSON::PP;
use MixpeekTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);

# Seconds; what a request may take, and what the faults below are measured by.
my $request_timeout = 1;

my $template = '{"metadata": {"v": "$v"},
	"features": [{"feature_extractor_id": "text", "payload": {}, "vectors": {"embedding": "$e"}}]}';
my $schema = qq{
	CREATE TABLE items (id int PRIMARY KEY, v text, n int);
	CREATE TABLE pairs (a text, b int, v text, PRIMARY KEY (a, b));
	CREATE TABLE vectors (id int PRIMARY KEY, v text, e real[]);
	SELECT mixpeek.mirror('items', 'c_items');
	SELECT mixpeek.mirror('items', 'c_numbers', '{"metadata": {"n": "\$n"}}');
	SELECT mixpeek.mirror('pairs', 'c_pairs');
	SELECT mixpeek.mirror('vectors', 'c_vectors', '$template');
};

# By collection: the table, and what its documents must say: key, metadata, features.
my %expected = (
	c_items => [ 'items', 'SELECT id::text AS key, to_jsonb(t) AS metadata, NULL::jsonb AS features FROM items t' ],
	c_numbers => [ 'items', q{SELECT id::text AS key, jsonb_build_object('n', n) AS metadata, NULL::jsonb AS features
		FROM items} ],
	c_pairs => [ 'pairs', 'SELECT ROW(a, b)::text AS key, to_jsonb(t) AS metadata, NULL::jsonb AS features
		FROM pairs t' ],
	c_vectors => [ 'vectors', q{SELECT id::text AS key, jsonb_build_object('v', v) AS metadata,
		CASE WHEN e IS NULL THEN '[]' ELSE jsonb_build_array(jsonb_build_object('feature_extractor_id', 'text',
		'payload', '{}'::jsonb,
			'vectors', jsonb_build_object('embedding', e))) END AS features FROM vectors} ]);

# psql's output is UTF-8, and so are the notes.
my $json = JSON::PP->new->canonical->utf8;

# Faults after which it is not known whether the work was done.
my @ambiguous = qw(reset_before reset_after cut malformed wrong_type status_after delay drip hang);

sub new
{
	my ($class, %options) = @_;
	my $name = $options{name};
	my $self = bless {
		%options,
		dir => PostgreSQL::Test::Utils::tempdir(),
		generation => 0,
		rounds => 0,
		failovers => 0,
		kills => {},
		counts => {},
	}, $class;

	$self->{api} = MixpeekTest::Server->new(enrich => 'now', journal => "$self->{dir}/journal",
		seed => 1 + int(rand(1_000_000)), latency => $options{latency} // 0, record => 1);
	$self->{node} = $self->new_node;
	$self->{node}->init(allows_streaming => 1, extra => [ '--encoding=UTF8', '--locale=C.UTF-8' ]);
	$self->{node}->append_conf('postgresql.conf', qq{
		shared_preload_libraries = 'mixpeek_docs'
		restart_after_crash = on
		max_prepared_transactions = 20
		deadlock_timeout = 50ms
		wal_retrieve_retry_interval = 100ms
		wal_keep_size = 1GB
		mixpeek.max_attempts = 1000
		mixpeek.retry_max_delay = 1
		log_statement = none
		@{[ $options{conf} // '' ]}
	});
	$self->{node}->start;
	$self->{node}->safe_psql('postgres', 'CREATE EXTENSION mixpeek_docs');
	create_server($self->{node}, 'mixpeek', $self->{api}, request_timeout => $request_timeout, connect_timeout => 1,
		max_connections => 8);
	$self->{node}->safe_psql('postgres', $schema);
	$self->add_standby if $options{standby};
	return $self;
}

sub set
{
	my ($self, $setting) = @_;

	$self->{node}->append_conf('postgresql.conf', "$setting\n");
	$self->{node}->restart;
	return;
}

sub end
{
	my ($self) = @_;

	$_->stop('immediate') foreach grep { $_ } @$self{qw(node standby)};
	$self->{api}->stop;
	return;
}

sub sql
{
	my ($self, $statement) = @_;
	return $self->{node}->safe_psql('postgres', $statement);
}

# The same where a process may be killed: undefined if the statement failed.
sub ask
{
	my ($self, $statement) = @_;
	my $node = $self->{node};
	my ($out, $err) = ('', '');

	IPC::Run::run([ $node->installed_command('psql'), qw(-X -q -A -t -d), $node->connstr('postgres'), '-c',
		$statement ],
		'<', \undef, '>', \$out, '2>', \$err) or return;
	chomp($out);
	return $out;
}

sub new_node
{
	my ($self) = @_;
	my $name = "$self->{name}_" . ++$self->{generation};
	return PostgreSQL::Test::Cluster->new($name, $self->{install_path} ? (install_path => $self->{install_path}) : ());
}

# Add a standby. From now on commits wait for it, so that they survive a failover.
sub add_standby
{
	my ($self) = @_;
	my $standby = $self->new_node;

	$self->{node}->backup('standby');
	$standby->init_from_backup($self->{node}, 'standby', has_streaming => 1);
	$standby->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
	$standby->start;
	$self->{node}->append_conf('postgresql.conf', "synchronous_standby_names = '*'\n");
	$self->{node}->reload;
	wait_for('the standby', sub { $self->sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'") });
	$self->{standby} = $standby;
	return;
}

# Stop replication to the standby, and no longer wait for it.
sub cut_off_standby
{
	my ($self) = @_;
	my $node = $self->{node};
	my $file = $node->data_dir . '/pg_hba.conf';
	my $rules = slurp_file($file);

	unlink($file);
	append_to_file($file, "local replication all reject\n$rules");
	$node->append_conf('postgresql.conf', "synchronous_standby_names = ''\n");
	$node->reload;
	wait_for('the end of replication', sub {
		!$self->sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_replication");
	});
	wait_for('commits that wait for no standby', sub { $self->sql('SHOW synchronous_standby_names') eq '' });
	return;
}

# Kills

sub kill_process
{
	my ($self, $kind, $condition) = @_;
	my $pid = $self->ask("SELECT pid FROM pg_stat_activity WHERE $condition AND pid <> pg_backend_pid()
		ORDER BY random() LIMIT 1");

	return if !$pid;
	$self->note_kill($kind);
	kill('KILL', $pid);
	return;
}

# Count a kill, and the requests under way, whose answers may never be read.
sub note_kill
{
	my ($self, $kind) = @_;

	$self->{kills}{$kind}++;
	$self->{counts}{cut_off} += $self->{api}->stats->{in_flight};
	return;
}

sub kill_api
{
	my ($self, $pause) = @_;

	$self->note_kill('API server');
	$self->add_counts;
	$self->{api}->kill9;
	sleep($pause);
	$self->{api}->start;
	$self->{api}->config(latency => $self->{latency} // 0);
	$self->{api}->faults(@{ $self->{faults} // [] });
	return;
}

sub kill_postmaster
{
	my ($self) = @_;

	$self->note_kill('postmaster');
	$self->kill_node;
	$self->{node}->start;
	return;
}

# Returns when its last process has ended.
sub kill_node
{
	my ($self) = @_;
	my $dir = $self->{node}->data_dir;
	my ($postmaster) = slurp_file("$dir/postmaster.pid") =~ /^(\d+)/;

	$self->{node}->kill9;
	wait_for('its processes to end', sub {
		!kill(0, $postmaster) && !grep { (readlink($_) // '') eq $dir } glob('/proc/[0-9]*/cwd');
	});
	return;
}

# Kill the primary for good, and promote the standby. Returns when its worker has noted the new place: a server that
# is killed between its promotion and that moment does not know afterwards that it was promoted, and waits for
# mixpeek.adopt().
sub fail_over
{
	my ($self) = @_;
	my $place = (stat($self->{standby}->data_dir))[1];

	$self->note_kill('postmaster');
	$self->kill_node;
	$self->{node} = delete $self->{standby};
	$self->{node}->promote;
	$self->{failovers}++;
	wait_for('the worker of the new primary', sub {
		($self->ask('SELECT instance FROM mixpeek.origin') // '') =~ /:$place(?: |$)/;
	});
	return;
}

# Add the API server's counts to ours; it forgets them when it is killed.
sub add_counts
{
	my ($self) = @_;
	my $stats = $self->{api}->stats;

	$self->{counts}{$_} += $stats->{$_} foreach qw(requests creates updates deletes lists overlaps);
	$self->{counts}{ambiguous} += $stats->{fault_kinds}{$_} // 0 foreach @ambiguous;
	$self->{api}->reset;
	return;
}

# Rounds

# Some of these faults. The work itself is done in time or never, and only its answer may be late.
sub random_faults
{
	my @faults;
	my $some = sub { push @faults, { probability => rand(0.12), @_ } if rand() < 0.5 };

	$some->(kind => 'reset_before');
	$some->(kind => 'reset_after');
	$some->(kind => 'cut');
	$some->(kind => 'malformed');
	$some->(kind => 'wrong_type');
	$some->(kind => 'status', status => 429, headers => { 'Retry-After' => '0' });
	$some->(kind => 'status', status => 429, headers => { 'Retry-After' => '1' });
	$some->(kind => 'status', status => 503);
	$some->(kind => 'status_after', status => 503);
	$some->(kind => 'status_after', status => 500);
	$some->(kind => 'delay', when => 'before', ms => 600 * $request_timeout);
	$some->(kind => 'delay', when => 'after', ms => 600 * $request_timeout);
	$some->(kind => 'delay', when => 'after', ms => 1600 * $request_timeout);
	$some->(kind => 'drip', ms => 20);
	push @faults, { kind => 'hang', probability => 0.01 } if rand() < 0.2;
	return @faults;
}

sub set_faults
{
	my ($self, @faults) = @_;

	$self->{faults} = \@faults;
	$self->{api}->faults(@faults);
	return;
}

my @events = (
	[ 3 => sub { $_[0]->kill_process('worker', "backend_type = 'mixpeek_docs worker'") } ],
	[ 2 => sub { $_[0]->kill_process('backend', "backend_type = 'client backend'") } ],
	[ 1 => sub {
		$_[0]->kill_process('other process', "backend_type NOT IN ('client backend', 'mixpeek_docs worker')");
	} ],
	[ 2 => sub { $_[0]->kill_postmaster } ],
	[ 3 => sub { $_[0]->kill_api(rand(0.5)) } ],
	[ 1 => sub {
		$_[0]->ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
	} ],
	[ 1 => sub { $_[0]->ask('CHECKPOINT') } ],
	[ 1 => sub {
		$_[0]->ask((rand() < 0.3 ? 'VACUUM FULL' : 'VACUUM')
			. (rand() < 0.5 ? ' mixpeek.outbox' : ' mixpeek.documents'));
	} ],
	[ 3 => sub { $_[0]->set_faults(random_faults()) } ]);
my $weights = 0;
$weights += $_->[0] foreach @events;

sub random_event
{
	my $choice = rand($weights);

	foreach my $event (@events)
	{
		return $event->[1] if ($choice -= $event->[0]) < 0;
	}
}

sub start_writers
{
	my ($self) = @_;
	my @nodes = grep { $_ } @$self{qw(node standby)};

	local %ENV = (%ENV,
		PGHOST => join(',', map { $_->host } @nodes),
		PGPORT => join(',', map { $_->port } @nodes),
		PGTARGETSESSIONATTRS => 'read-write',
		PGCONNECT_TIMEOUT => 5);
	$self->{stop} = "$self->{dir}/stop_$self->{rounds}";
	$self->{writers} = [
		map {
			IPC::Run::start([ $^X, "$FindBin::RealBin/../chaos/writer", int(rand(1_000_000_000)), $self->{stop} ],
				'<', \undef, '>&', "$self->{dir}/writer_$_.log")
		} 1 .. 4 ];
	return;
}

sub stop_writers
{
	my ($self) = @_;

	append_to_file($self->{stop}, '');
	$_->finish foreach @{ delete $self->{writers} };
	return;
}

sub wait_until_up
{
	my ($self) = @_;
	return wait_for('the server to accept connections', sub { defined $self->ask('SELECT 1') });
}

sub round
{
	my ($self, %options) = @_;
	my $failover = $options{failover} ? int(rand($options{events})) : -1;

	$self->{rounds}++;
	$self->add_standby if $options{failover} && !$self->{standby};
	$self->start_writers;
	$self->set_faults(random_faults());
	foreach my $n (1 .. $options{events})
	{
		sleep(0.1 + rand(0.5));
		random_event()->($self);
		$self->fail_over if $n - 1 == $failover;
		$self->wait_until_up;
	}
	$self->stop_writers;
	$self->set_faults();
	$self->wait_until_up;
	return;
}

# Scenarios: for each safeguard that setting mixpeek.weaken can switch off, one that doubles a document without it.

our %scenarios = (
	# The API has done the work, and everything that was not flushed is gone.
	intent_flush => sub {
		my ($self) = @_;

		$self->{api}->faults({ kind => 'delay', when => 'after', ms => 60_000, body => '"collection_id"', count => 1 });
		$self->sql("INSERT INTO pairs VALUES ('intent_flush', 1, 'v')");
		$self->wait_for_creates(1);
		$self->kill_postmaster;
	},
	# The API has done the work, and the answer is lost.
	look_up => sub {
		my ($self) = @_;

		$self->{api}->faults({ kind => 'reset_after', body => '"collection_id"', count => 1 });
		$self->sql("INSERT INTO pairs VALUES ('look_up', 1, 'v')");
		$self->wait_for_creates(1);
	},
	# The row changes while the API has not yet done the work.
	in_flight_guard => sub {
		my ($self) = @_;

		$self->{api}->faults({ kind => 'delay', when => 'before', ms => 700 * $request_timeout,
			body => '"collection_id"', count => 1 });
		$self->sql("INSERT INTO pairs VALUES ('in_flight_guard', 1, 'v')");
		wait_for('the create to be under way', sub { $self->{api}->stats->{in_flight} });
		$self->sql("UPDATE pairs SET v = 'w' WHERE a = 'in_flight_guard'");
		$self->wait_for_creates(1);
		wait_for('the end of all that is under way', sub { $self->{api}->stats->{in_flight} == 0 });
	});

sub wait_for_creates
{
	my ($self, $n) = @_;
	return wait_for('creates', sub { $self->{api}->stats->{creates} >= $n });
}

# Run a scenario, from a state in which all is mirrored and on disk.
sub scenario
{
	my ($self, $name) = @_;

	$self->sql("INSERT INTO pairs VALUES ('there', 1, 'v') ON CONFLICT DO NOTHING; SELECT mixpeek.wait('90 s');
		CHECKPOINT");
	$self->add_counts;
	$scenarios{$name}->($self);
	$self->{api}->faults();
	return;
}

# The result

# Commit what is prepared, and wait; true if all is mirrored in time.
sub settled
{
	my ($self) = @_;

	foreach my $gid (split(/\n/, $self->sql('SELECT gid FROM pg_prepared_xacts')))
	{
		$self->sql("COMMIT PREPARED '$gid'");
	}
	return $self->sql("SELECT mixpeek.wait('90 s')") eq 't';
}

sub rows_of
{
	my ($self, $collection) = @_;
	my $rows = $self->sql("SELECT coalesce(jsonb_agg(r), '[]') FROM ($expected{$collection}[1]) r");

	return { map { (utf8_key($_->{key}) => $_) } @{ $json->decode($rows) } };
}

sub utf8_key
{
	my ($key) = @_;
	utf8::encode($key);
	return $key;
}

# By key, the documents of a collection.
sub documents_of
{
	my ($self, $collection) = @_;
	my %documents;

	foreach my $document (@{ $self->{api}->documents($collection) // [] })
	{
		my ($key) = delete($document->{metadata}{mixpeek_docs}) =~ /^[^:]+:[^:]+:(.*)$/s;
		push @{ $documents{ utf8_key($key) } }, $document;
	}
	return \%documents;
}

sub compare_collection
{
	my ($self, $collection, $wrong) = @_;
	my $rows = $self->rows_of($collection);
	my $documents = $self->documents_of($collection);
	my $ids = $json->decode($self->sql(qq{
		SELECT coalesce(jsonb_object_agg(key, document_id), '{}') FROM mixpeek.documents
		WHERE relation = '$expected{$collection}[0]'::regclass AND collection = '$collection'}));
	my $known = { map { (utf8_key($_) => $ids->{$_}) } keys %$ids };

	foreach my $key (sort keys %$rows)
	{
		my ($document, @others) = @{ $documents->{$key} // [] };
		my $row = $rows->{$key};

		push @{ $wrong->{doubled} }, "$collection $key" if @others;
		push @{ $wrong->{lost} }, "$collection $key: no document" unless $document;
		next if @others || !$document;
		foreach my $field (qw(metadata features))
		{
			my ($want, $got) = map { $json->encode($_->{$field} // []) } $row, $document;
			push @{ $wrong->{lost} }, "$collection $key: $field is $got, not $want" if $got ne $want;
		}
		push @{ $wrong->{lost} }, "$collection $key: its document is not known"
		  if ($known->{$key} // '') ne $document->{document_id};
	}
	push @{ $wrong->{stray} }, map { "$collection $_" } grep { !$rows->{$_} } sort keys %$documents;
	push @{ $wrong->{stuck} }, map { "$collection $_: known without a row" } grep { !$rows->{$_} } sort keys %$known;
	return;
}

# Note what is known of a key, to find out the reason.
sub report
{
	my ($self, $where) = @_;
	my ($collection, $key) = $where =~ /^(\w+) (.*?)(?:: .*)?$/s;
	my $line = $self->sql(qq{
		SELECT coalesce(jsonb_agg(d), '[]') FROM mixpeek.documents d
		WHERE collection = '$collection' AND key = @{[ MixpeekTest::quote($key) ]}});
	my ($document) = $line =~ /"document_id": "(\w+)"/;
	my @requests = grep {
		$_->{path} =~ m{/$collection/} && (($document && $_->{path} =~ /$document/)
			|| ($_->{body} // '') =~ /:\Q$key\E"/)
	} @{ $self->{api}->requests };

	note("$where: $line");
	note("$where: ", $json->encode($_)) foreach @requests;
	return;
}

sub compare
{
	my ($self) = @_;
	my %wrong = (lost => [], doubled => [], stray => [], stuck => []);

	push @{ $wrong{stuck} }, 'mixpeek.wait() gave up' unless $self->settled;
	push @{ $wrong{stuck} }, split(/\n/, $self->sql(q{
		SELECT 'outbox: ' || o::text FROM mixpeek.outbox o
		UNION ALL SELECT concat_ws(' ', relation, collection, key, state, last_error) FROM mixpeek.documents
			WHERE state <> 'mirrored'}));
	$self->compare_collection($_, \%wrong) foreach sort keys %expected;
	$self->report($_) foreach map { @{ $wrong{$_} } } qw(lost doubled stray);
	$self->add_counts;
	return \%wrong;
}

# All counts in one line.
sub summary
{
	my ($self) = @_;
	my %kills = %{ $self->{kills} };
	my %counts = (map({ $_ => 0 } qw(requests ambiguous cut_off lists overlaps)), %{ $self->{counts} });
	my $kills = 0;

	$kills += $_ foreach values %kills;
	return sprintf('%d rounds, %d kills (%s), %d failovers, %d requests, %d ambiguous answers, %d look-ups',
		$self->{rounds}, $kills, join(', ', map { "$_ $kills{$_}" } sort keys %kills), $self->{failovers},
		$counts{requests}, $counts{ambiguous} + $counts{cut_off}, $counts{lists});
}

1;
