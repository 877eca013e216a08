# An API key is part of the text of CREATE USER MAPPING. pg_stat_activity, pg_stat_statements, pg_prepared_statements
# and the log of errors show the text without it (src/entry/api_key_text.c), however the statement comes.
use strict;
use warnings;
use IO::Socket::UNIX;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;

# A client that sends the extended protocol's messages one by one.
package Client;

sub new
{
	my ($class, $node) = @_;
	my $socket = IO::Socket::UNIX->new(Peer => $node->host . '/.s.PGSQL.' . $node->port) or die "connect: $!";
	my $self = bless { socket => $socket }, $class;
	my $user = getpwuid($>);
	my $startup = pack('N', 196608) . join("\0", user => $user, database => 'postgres', '', '');

	$socket->syswrite(pack('N', 4 + length $startup) . $startup);
	$self->answers;
	return $self;
}

sub send
{
	my ($self, $type, $body) = @_;
	$self->{socket}->syswrite($type . pack('N', 4 + length $body) . $body);
	return;
}

sub read_bytes
{
	my ($self, $n) = @_;
	my $bytes = '';

	while (length $bytes < $n) { $self->{socket}->sysread($bytes, $n - length $bytes, length $bytes)
		or die 'the connection was closed'; }
	return $bytes;
}

# All messages up to the type that is waited for, as [type, body].
sub answers
{
	my ($self, $until) = @_;
	my @answers;

	$until //= 'Z';
	while (1)
	{
		my ($type, $len) = unpack('aN', $self->read_bytes(5));

		push @answers, [ $type, $len > 4 ? $self->read_bytes($len - 4) : '' ];
		die "error: $answers[-1][1]" if $type eq 'E';
		return @answers if $type eq $until;
	}
}

sub sync { $_[0]->send('S', ''); return $_[0]->answers; }
sub flush { my ($self, $until) = @_; $self->send('H', ''); return $self->answers($until); }

sub parse { my ($self, $name, $sql) = @_; return $self->send('P', "$name\0$sql\0" . pack('n', 0)); }
sub bind { my ($self, $name) = @_; return $self->send('B', "\0$name\0" . pack('n3', 0, 0, 0)); }
sub execute { return $_[0]->send('E', "\0" . pack('N', 0)); }

package main;

my $key = 'sk_live_THE_SECRET_KEY';

# The statements of other sessions in pg_stat_activity.
sub shown
{
	my ($node) = @_;
	return $node->safe_psql('postgres', "SELECT query FROM pg_stat_activity WHERE backend_type = 'client backend'
		AND pid <> pg_backend_pid()");
}

sub statements
{
	my ($node) = @_;
	return $node->safe_psql('postgres',
		q{SELECT query FROM pg_stat_statements WHERE query ~* 'mapping' AND query !~ 'pg_stat_'});
}

foreach my $libraries ('pg_stat_statements, mixpeek_docs', 'mixpeek_docs, pg_stat_statements')
{
	my $node = mixpeek_node($libraries =~ s/\W+/_/gr, qq{
		shared_preload_libraries = '$libraries'
		pg_stat_statements.track = all
		log_statement = none
		restart_after_crash = on
		log_min_error_statement = error
		log_min_messages = debug1
	});
	create_server($node, 'mixpeek', 'http://127.0.0.1:1');
	$node->safe_psql('postgres', 'CREATE EXTENSION pg_stat_statements; CREATE ROLE app;
		SELECT pg_stat_statements_reset()');

	# Each way to write the key must set it, and must not be shown.
	my %ways = (
		'a literal' => "'$key'",
		'a literal with a comment before it' => "/* it's */ '$key'",
		'a literal with escapes' => "E'sk_live\\x5fTHE_SECRET_KEY'",
		'a literal with Unicode escapes' => "U&'sk_live\\005FTHE_SECRET_KEY'",
		'a literal over two lines' => "'sk_live_'\n  'THE_SECRET_KEY'",
		'a literal in dollars' => "\$x\$$key\$x\$",
	);
	foreach my $way (sort keys %ways)
	{
		my $said = $node->safe_psql('postgres',
			"CREATE USER MAPPING FOR app SERVER mixpeek OPTIONS (api_key $ways{$way})");
		is($node->safe_psql('postgres', 'SELECT array_to_string(umoptions, chr(10)) FROM pg_user_mappings
			WHERE usename = \'app\''),
			"api_key=$key", "$libraries: $way is the key");
		$node->safe_psql('postgres', 'DROP USER MAPPING FOR app SERVER mixpeek');
	}
	my $statements = statements($node);
	like($statements, qr/CREATE USER MAPPING FOR app SERVER mixpeek OPTIONS \(api_key /,
		"$libraries: pg_stat_statements has the statements");
	unlike($statements, qr/SECRET|live/, "$libraries: pg_stat_statements does not have the key");

	# Statements within others
	$node->safe_psql('postgres', "SELECT 1; CREATE USER MAPPING FOR app SERVER mixpeek OPTIONS (API_key '$key');
		SELECT 2");
	$node->safe_psql('postgres', "DO \$\$BEGIN
		EXECUTE 'ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET api_key ''$key'')'; END\$\$");
	$node->safe_psql('postgres', "DO \$\$BEGIN
		EXECUTE format('ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET api_key %L)', '$key'); END\$\$");
	$node->safe_psql('postgres', "DO \$\$BEGIN ALTER USER MAPPING FOR app SERVER mixpeek
		OPTIONS (SET \"api_key\" '$key'); END\$\$");
	$node->safe_psql('postgres', "ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET U&\"api\\005Fkey\" '$key')");
	unlike(statements($node), qr/SECRET/,
		"$libraries: pg_stat_statements does not have the key of statements within others");
	is($node->safe_psql('postgres', 'SELECT array_to_string(umoptions, chr(10)) FROM pg_user_mappings
		WHERE usename = \'app\''),
		"api_key=$key", "$libraries: statements within others set the key");

	# The log of an error, which has the statement
	my $log = -s $node->logfile;
	$node->psql('postgres', "CREATE USER MAPPING FOR app SERVER mixpeek OPTIONS (api_key '$key')");
	$node->psql('postgres', "ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET api_key '$key', SET nonsense 'x')");
	my $logged = slurp_file($node->logfile, $log);
	like($logged, qr/STATEMENT:  CREATE USER MAPPING FOR app SERVER mixpeek OPTIONS \(api_key '\*+'\)/,
		"$libraries: the log of an error has the statement");
	unlike($logged, qr/SECRET/, "$libraries: the log of an error does not have the key");

	foreach my $sql ("DO \$\$BEGIN EXECUTE
		'ALTER USER MAPPING FOR nosuch SERVER mixpeek OPTIONS (SET api_key ''$key'')'; END\$\$",
		"DO \$\$BEGIN EXECUTE format('ALTER USER MAPPING FOR nosuch SERVER mixpeek OPTIONS (SET api_key %L)', '$key');
			END\$\$",
		"DO \$\$BEGIN CREATE USER MAPPING FOR app SERVER mixpeek OPTIONS (api_key '$key'); END\$\$")
	{
		$log = -s $node->logfile;
		my (undef, undef, $stderr) = $node->psql('postgres', $sql);
		like($stderr, qr/ERROR: .*\nCONTEXT:  SQL statement ".* USER MAPPING .*api_key '\*+'/,
			"$libraries: the context of an error has the statement");
		unlike($stderr . slurp_file($node->logfile, $log), qr/SECRET/,
			"$libraries: the context of an error does not have the key");
	}

	# The extended protocol, step by step
	my $client = Client->new($node);
	$client->parse('', "ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET api_key '$key')");
	$client->flush('1');
	like(shown($node), qr/^ALTER USER MAPPING .*\(SET api_key '\*{22}'\)$/m,
		"$libraries: Parse shows the statement without the key");
	$client->sync;
	unlike(shown($node), qr/SECRET/, "$libraries: Sync after Parse does not show the key");
	$client->bind('');
	$client->flush('2');
	like(shown($node), qr/^ALTER USER MAPPING .*\(SET api_key '\*{22}'\)$/m,
		"$libraries: Bind shows the statement without the key");
	$client->execute;
	$client->flush('C');
	unlike(shown($node), qr/SECRET/, "$libraries: Execute does not show the key");
	$client->sync;
	unlike(shown($node), qr/SECRET/, "$libraries: Sync after Execute does not show the key");
	$client->parse('named', "ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET api_key 'another_$key')");
	$client->sync;
	foreach my $time (1, 2)
	{
		$client->bind('named');
		$client->flush('2');
		unlike(shown($node), qr/SECRET/, "$libraries: a prepared statement does not show the key, time $time");
		$client->execute;
		$client->sync;
		is($node->safe_psql('postgres', 'SELECT array_to_string(umoptions, chr(10)) FROM pg_user_mappings
			WHERE usename = \'app\''),
			"api_key=another_$key", "$libraries: a prepared statement sets the key, time $time");
		$node->safe_psql('postgres', "ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET api_key 'sk_old');
			CREATE SCHEMA other$time");	# plans are made anew
	}
	$client->send('Q', "SELECT name FROM pg_prepared_statements WHERE statement ~ 'S[E]CRET'\0");
	is(scalar(grep { $_->[0] eq 'D' } $client->answers), 0, "$libraries: pg_prepared_statements does not have the key");

	# While the first of several statements runs, and while a function runs that has the key as an argument
	$node->safe_psql('postgres', q{
		CREATE FUNCTION set_key(key text) RETURNS void LANGUAGE plpgsql AS $$
		BEGIN
			EXECUTE format('ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET api_key %L)', key);
			PERFORM pg_advisory_xact_lock(1);
		END $$});
	my $lock = $node->background_psql('postgres', on_error_stop => 1);
	$lock->query_safe('SELECT pg_advisory_lock(1)');
	my $waits = sub { wait_for('the lock to be waited for', sub {
		$node->safe_psql('postgres', "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted") }) };
	foreach my $sql ("SELECT pg_advisory_xact_lock(1); ALTER USER MAPPING FOR app SERVER mixpeek
		OPTIONS (SET api_key '$key')",
		"SELECT set_key('$key')")
	{
		my $second = Client->new($node);
		$second->send('Q', "$sql\0");
		$waits->();
		unlike(shown($node), qr/SECRET/, "$libraries: not shown while this runs: " . $sql =~ s/$key/KEY/r);
		$lock->query_safe('SELECT pg_advisory_unlock(1)');
		$second->answers;
		$lock->query_safe('SELECT pg_advisory_lock(1)');
	}
	unlike(statements($node), qr/SECRET/,
		"$libraries: pg_stat_statements does not have the key of statements that waited");
	$lock->quit;

	# Statements that only look like one with a key are left as they are
	$node->safe_psql('postgres', "CREATE TABLE mapping (api_key text)");
	$node->safe_psql('postgres', "SELECT api_key FROM (VALUES ('visible')) v (api_key)");
	is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_statements
		WHERE query LIKE 'SELECT api\\_key FROM (VALUES (\$1)) v (api\\_key)'"), 1,
		"$libraries: other statements are shown as they are");
	$log = -s $node->logfile;
	$node->psql('postgres', 'DROP TABLE mapping; ALTER USER MAPPING FOR nosuch SERVER mixpeek OPTIONS (DROP api_key);
		SELECT 3');
	like(slurp_file($node->logfile, $log),
		qr/STATEMENT:  ALTER USER MAPPING FOR nosuch SERVER mixpeek OPTIONS \(DROP api_key\)/,
		"$libraries: a statement without a key is logged as it is");

	# After a crash the postmaster calls the library's hooks once more
	kill KILL => $node->safe_psql('postgres',
		"SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker'");
	wait_for('the server to be back', sub {
		my $answer = '';
		$node->psql('postgres', 'SELECT 4', stdout => \$answer) == 0 && $answer eq '4';
	});
	$node->safe_psql('postgres', "ALTER USER MAPPING FOR app SERVER mixpeek OPTIONS (SET api_key '$key')");
	unlike(statements($node), qr/SECRET/, "$libraries: pg_stat_statements does not have the key after a crash");
	$node->stop;
	unlike(slurp_file($node->logfile), qr/SECRET/, "$libraries: the log does not have the key") if $node->logfile;
}

# pg_stat_activity, without pg_stat_statements, after the statement and beside another session

my $node = mixpeek_node('alone', "shared_preload_libraries = 'mixpeek_docs'\nlog_statement = none");
create_server($node, 'patient', 'http://127.0.0.1:1', api_key => $key);
my $session = $node->background_psql('postgres');
my $pid = $session->query('SELECT pg_backend_pid()');
foreach my $statement ("CREATE USER MAPPING FOR PUBLIC SERVER patient OPTIONS (api_key '$key')",
	"ALTER USER MAPPING FOR PUBLIC SERVER patient OPTIONS (SET api_key '$key!')")
{
	$session->query($statement);
	my $shown = $node->safe_psql('postgres', "SELECT query FROM pg_stat_activity WHERE pid = $pid");
	like($shown, qr/USER MAPPING/, 'pg_stat_activity shows the USER MAPPING statement');
	unlike($shown, qr/$key/, 'pg_stat_activity shows the USER MAPPING statement without the key');
}
is($node->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity a WHERE pid <> pg_backend_pid()
	AND a::text ~ '$key'"), '0', 'pg_stat_activity shows the key in no session');
$session->quit;
$node->stop;

done_testing();
