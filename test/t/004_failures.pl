# What the worker makes of each way in which a request can fail: README's table of failures, line by
# line, and that one failure is nobody else's.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;

my $key = 'sk_a_key_that_nobody_may_see';
my $node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
log_min_messages = debug5
log_statement = all
mixpeek.max_attempts = 3
mixpeek.retry_max_delay = 1
});

# Meanwhile another cluster uses two limits to the full: requests a minute, at once, and rows for some seconds.
my %limits = (minute => [ 600, 20, 170 ], second => [ 6000, 50, 850 ], option => [ 60000, 1000, 120 ]);
my %limited;
my $limits_node = mixpeek_node('limits', "shared_preload_libraries = 'mixpeek_docs'");
foreach my $name (keys %limits)
{
	my ($rate, $burst, $rows) = @{ $limits{$name} };

	$limited{$name} = MixpeekTest::Server->new(rate => $rate, burst => $burst, enrich => 'now');
	create_server($limits_node, $name, $limited{$name}, $name eq 'option' ? (requests_per_minute => 600) : ());
	$limits_node->safe_psql('postgres', qq{
		CREATE TABLE $name (id int PRIMARY KEY);
		SELECT mixpeek.mirror('$name', '$name', server => '$name', backfill => false);
		INSERT INTO $name SELECT generate_series(1, $rows)});
}

sub sql
{
	my ($statement, $database) = @_;
	return $node->safe_psql($database // 'postgres', $statement);
}

sub log_lines
{
	my ($pattern, $offset) = @_;
	return scalar(grep { $_ =~ $pattern } split(/\n/, slurp_file($node->logfile, $offset // 0)));
}

# A server of the tests' own, and a foreign server of that name.
sub api_server
{
	my ($name, $options, %api_options) = @_;
	my $api = MixpeekTest::Server->new(api_key => $key, record => 1, enrich => 'now', %api_options);

	sql(foreign_server($name, base_url => $api->url, request_timeout => '2', %{ $options // {} }));
	return $api;
}

# Statements; the one that has the key is not logged.
sub foreign_server
{
	my ($name, %options) = @_;
	my $list = join(', ', map { "$_ '$options{$_}'" } sort keys %options);

	return qq{
		CREATE SERVER $name FOREIGN DATA WRAPPER mixpeek_docs OPTIONS ($list);
		SET log_statement = none;
		CREATE USER MAPPING FOR CURRENT_USER SERVER $name OPTIONS (api_key '$key');
		RESET log_statement;
	};
}

# A mirrored table, which is the collection's name, too.
sub mirrored_table
{
	my ($table, $server) = @_;
	sql("CREATE TABLE $table (id text PRIMARY KEY, v text); SELECT mixpeek.mirror('$table', '$table', server => '$server', backfill => false)");
	return;
}

# What is known of a table's documents, by key.
sub documents
{
	my ($table) = @_;
	return decode_json(sql(qq{
		SELECT coalesce(json_object_agg(key, to_json(d.*)), '{}')
		FROM (SELECT *, extract(epoch FROM next_attempt_at - clock_timestamp()) AS wait FROM mixpeek.documents) d
		WHERE relation = '$table'::regclass}));
}

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

sub rows { return join(', ', map { "('$_')" } @_); }

# One line a kind of failure

my $refusing = api_server('refusing');
mirrored_table('refusing', 'refusing');
$refusing->faults({ kind => 'status', status => 422, body => '"refused' }, { kind => 'status', status => 418, body => '"twice', count => 40 });
my $offset = -s $node->logfile;
sql("INSERT INTO refusing SELECT 'refused ' || n FROM generate_series(1, 200) n UNION ALL SELECT 'twice ' || n FROM generate_series(1, 40) n");
wait_for('the log to tell', sub { log_lines(qr/documents? failed: Mixpeek API refused the request: 418/, $offset) });
is(log_lines(qr/ 200 documents failed: Mixpeek API refused the request: 422$/, $offset), 1, '200 rows refused with 422: one log line with their number');
is(log_lines(qr/ 40 documents failed: Mixpeek API refused the request: 418$/, $offset), 1, '40 rows refused with 418: one log line with their number');
is(log_lines(qr/LOG: .*failed/, $offset), 2, '240 rows refused: two log lines');
sql("INSERT INTO refusing VALUES ('refused again')");
wait_for_states('refusing', 'failed');
is(log_lines(qr/LOG: .*failed/, $offset), 2, 'a row refused soon after: no further log line');
sql('DROP TABLE refusing');
$refusing->stop;

# README's table: what becomes of each status

sub readme_lines
{
	my ($section) = slurp_file('README.md') =~ /^## Failure and recovery\n(.*?)^One row that/ms;
	my @lines = map { [ split(/ \| /, $_) ] } grep { /^\| / } split(/\n/, $section);
	return @lines[ 1 .. $#lines ];
}

# By status, whether README says that it is tried again.
sub readme_statuses
{
	my %again;

	foreach my $line (readme_lines())
	{
		my ($statuses) = $line->[0] =~ /^\| (\d{3}[^;]*)/ or next;
		next if $statuses =~ /^404 /;
		while ($statuses =~ /\b(\d{3})(?:–(\d{3}))?\b/g)
		{
			push @{ $again{$_} }, $line->[1] for $1 .. $2 // $1;
		}
	}
	$again{404} = ['no'];    # "to a create"
	return %again;
}

my %again = readme_statuses();
is_deeply([ grep { @{ $again{$_} // [] } != 1 } 200 .. 599 ], [], 'README says once of each status what becomes of it');

my $api = api_server('statuses');
mirrored_table('statuses', 'statuses');
my @statuses = grep { $again{$_}[0] eq 'no' || $again{$_}[0] =~ /^yes, `mixpeek.max_attempts` times/ } 200 .. 599;
cmp_ok(scalar(@statuses), '>', 190, 'README: more than 190 statuses concern one document');
$api->faults(map { { kind => 'status', status => $_, body => qq{"s$_"} } } @statuses);
sql('INSERT INTO statuses VALUES ' . rows('good', map { "s$_" } @statuses));
wait_for_states('statuses', 'failed,mirrored');
my $documents = documents('statuses');
is($documents->{good}{state}, 'mirrored', 'statuses: a row beside those that fail is mirrored');
my %wrong;
foreach my $status (@statuses)
{
	my $document = $documents->{"s$status"};
	my $again = $again{$status}[0] ne 'no';

	$wrong{$status} = $document
	  unless $document->{state} eq 'failed'
	  && $document->{attempts} == ($again ? 3 : 1)
	  && $document->{last_error} =~ /^Mixpeek API (refused the request|failed): $status\b.*: Fault on demand$/
	  && !defined $document->{next_attempt_at};
}
is_deeply(\%wrong, {}, "statuses: each row fails at once or after max_attempts, as README says, in the API's words");
my %creates;
$creates{$_}++ for map { $_->{path} =~ /list/ ? () : $_->{body} =~ /"s(\d+)"/ } @{ $api->requests };
is_deeply([ grep { $creates{$_} != ($again{$_}[0] eq 'no' ? 1 : 3) } @statuses ], [], 'statuses: each row is sent as often as README says');

$api->faults();
is(sql("SELECT mixpeek.retry('statuses', error => '%: 404%')"), 1, 'retry() by error returns 1');
wait_for('the document', sub { documents('statuses')->{s404}{state} eq 'mirrored' });
is(sql("SELECT mixpeek.retry('statuses', 'another collection')"), 0, 'retry() of another collection returns 0');
is(sql("SELECT mixpeek.retry()"), @statuses - 1, 'retry() of all returns their number');
wait_for_states('statuses', 'mirrored');
is_deeply([ @{ $api->stats }{qw(documents duplicates)} ], [ @statuses + 1, 0 ], 'retry() of all: each row has one document');
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'statuses'::regclass AND (attempts <> 0 OR last_error IS NOT NULL)"),
	0, 'retry() of all: no record has attempts or an error');


# 404 where there was a document

sql("DELETE FROM statuses WHERE id NOT IN ('good', 's400')");
wait_for('the others to go', sub { keys %{ documents('statuses') } == 2 });
my %ids = map { $_->{metadata}{id} => $_->{document_id} } @{ $api->documents('statuses') };
sql("SELECT mixpeek.delete_document('statuses', d, 'statuses') FROM unnest('{$ids{good},$ids{s400}}'::text[]) d");
$api->reset;
sql("UPDATE statuses SET v = 'changed' WHERE id = 'good'; DELETE FROM statuses WHERE id = 's400'");
wait_for_states('statuses', 'mirrored');
wait_for('both', sub { keys %{ documents('statuses') } == 1 });
isnt(documents('statuses')->{good}{document_id}, $ids{good}, '404 to an update: the document is created again');
is_deeply([ @{ $api->stats }{qw(creates documents)}, $api->stats->{status}{404} ], [ 1, 1, 2 ], '404 to a delete: no document is created');
cmp_ok($api->stats->{lists}, '>=', 1, '404: the document is looked up');
is(documents('statuses')->{good}{attempts}, 0, '404: no attempt is counted');

# Answers that are none: the last attempt is the first here, so that what is left of it stays to be seen

sub set_max_attempts
{
	my ($n) = @_;
	my $worker = sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = 'postgres'");
	my $offset = -s $node->logfile;

	$node->append_conf('postgresql.conf', "mixpeek.max_attempts = $n\n");
	$node->reload;
	# It sleeps but for this, and its debug messages tell when it has woken up.
	wait_for('the worker to reload', sub { log_lines(qr/\[$worker\] .*CommitTransaction/, $offset) });
	return;
}

# What happens, the fault, whether the document was made, and what is said of it. Each has a server
# of its own: five failures of the second kind in a row are an outage.
my $unreadable = 'The answer cannot be read: it is no JSON from byte 49 on';
my %unanswered = (
	malformed => [ { kind => 'malformed' }, 1, qr/^Mixpeek API sent an answer that is not valid JSON: $unreadable/ ],
	wrong_type => [ { kind => 'wrong_type' }, 1, qr/^the API's answer holds no document_id$/ ],
	no_id => [ { kind => 'status_after', status => 200, answer => '{"document_id": 7}' }, 1, qr/holds no document_id$/ ],
	empty_id => [ { kind => 'status_after', status => 200, answer => '{"document_id": ""}' }, 1, qr/holds no document_id$/ ],
	endless_id => [ { kind => 'status_after', status => 200, answer => { document_id => join('', map { chr(33 + rand(90)) } 1 .. 9000) =~ tr/"\\//dr } },
		1, qr/holds no document_id$/ ],
	huge => [ { kind => 'huge', bytes => 65 * 1024 * 1024 }, 1, qr/^answer of the Mixpeek API is too large: answer has more than 32 MB$/ ],
	late_500 => [ { kind => 'status_after', status => 500 }, 1, qr/^Mixpeek API failed: 500 / ],
	hang => [ { kind => 'hang' }, 0, qr/^Mixpeek API did not answer in time: no answer within 2 s$/ ],
	slow => [ { kind => 'delay', when => 'after', ms => 5000 }, 1, qr/did not answer in time/ ],
	drip => [ { kind => 'drip', ms => 50 }, 1, qr/did not answer in time/ ],
	cut => [ { kind => 'cut' }, 1, qr/^lost the connection to the Mixpeek API/ ],
	reset_before => [ { kind => 'reset_before' }, 0, qr/^lost the connection to the Mixpeek API/ ],
	reset_after => [ { kind => 'reset_after' }, 1, qr/^lost the connection to the Mixpeek API/ ],
	late_503 => [ { kind => 'status_after', status => 503 }, 1, qr/^Mixpeek API failed: 503 / ],
	(map { ("early_$_" => [ { kind => 'status', status => $_ }, 0, qr/^Mixpeek API failed: $_ / ]) } 502 .. 504));
my %apis;

set_max_attempts(1);
foreach my $name (sort keys %unanswered)
{
	$apis{$name} = api_server($name);
	mirrored_table($name, $name);
	$apis{$name}->faults({ %{ $unanswered{$name}[0] }, method => 'POST', count => 1 });
}
sql(join('; ', map { "INSERT INTO $_ VALUES ('$_')" } sort keys %unanswered));
foreach my $name (sort keys %unanswered)
{
	my (undef, $done, $error) = @{ $unanswered{$name} };

	wait_for_states($name, 'failed');
	my $document = documents($name)->{$name};
	like($document->{last_error}, $error, "$name: last_error says it");
	is_deeply([ @$document{qw(attempts document_id content_hash)}, $document->{in_doubt} ? 1 : 0 ],
		[ 1, undef, undef, 1 ], "$name: one attempt, whose outcome is not known");
	is($apis{$name}->stats->{documents}, $done, "$name: a document is " . ($done ? '' : 'not ') . 'there');
}
set_max_attempts(3);
is(sql("SELECT count(*) FROM (SELECT mixpeek.retry(oid) AS n FROM pg_class WHERE relname IN (" .
		join(', ', map { "'$_'" } keys %unanswered) . ')) r WHERE n = 1'), keys %unanswered, 'retry() of each row without an answer returns 1');
foreach my $name (sort keys %unanswered)
{
	wait_for_states($name, 'mirrored');
	my $stats = $apis{$name}->stats;
	my ($document) = @{ $apis{$name}->documents($name) };

	is_deeply([ @$stats{qw(creates lists documents duplicates updates)} ], [ 1, 1, 1, 0, 0 ], "$name: looked up, and there once");
	is_deeply([ @{ documents($name)->{$name} }{qw(document_id attempts last_error)} ], [ $document->{document_id}, 0, undef ],
		"$name: the record has the document's id and no error");
	$apis{$name}->stop;
}

# How long to wait is what the answer says: all at once, each on a server of its own

sub http_date
{
	my @t = gmtime(shift);
	return sprintf('%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $t[6] ], $t[3],
		(qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $t[4] ], $t[5] + 1900, @t[ 2, 1, 0 ]);
}

# What is answered at the first request, and how long after it the second one must come at the earliest.
# A point in time is in whole seconds, of which the first may have passed.
my %waits = (
	retry_seconds => [ 429, sub { { 'Retry-After' => 2 } }, 2 ],
	retry_date => [ 429, sub { { 'Retry-After' => http_date(time() + 3) } }, 2 ],
	reset_seconds => [ 429, sub { { 'X-RateLimit-Reset' => 2 } }, 2 ],
	reset_unix => [ 429, sub { { 'X-RateLimit-Reset' => int(time()) + 3 } }, 2 ],
	both => [ 429, sub { { 'Retry-After' => 2, 'X-RateLimit-Reset' => 30 } }, 2 ],
	nothing => [ 429, sub { {} }, 1 ],
	past => [ 429, sub { { 'Retry-After' => http_date(time() - 1000) } }, 0 ],
	unavailable => [ 503, sub { { 'Retry-After' => 2 } }, 2 ],
	broken => [ 500, sub { { 'Retry-After' => 2 } }, 2 ]);
foreach my $name (keys %waits)
{
	$apis{$name} = api_server("wait_$name");
	mirrored_table("wait_$name", "wait_$name");
}
foreach my $name (keys %waits)
{
	my ($status, $headers) = @{ $waits{$name} };
	$apis{$name}->faults({ kind => 'status', status => $status, headers => $headers->(), count => 1 });
}
sql(join('; ', map { "INSERT INTO wait_$_ VALUES ('$_')" } keys %waits));
foreach my $name (sort keys %waits)
{
	my ($status, undef, $seconds) = @{ $waits{$name} };

	wait_for_states("wait_$name", 'mirrored');
	my $stats = $apis{$name}->stats;
	my $waited = $stats->{last_request_at} - $stats->{first_request_at};
	cmp_ok($waited, '>=', $seconds - 0.01, "$name: the next request comes after at least $seconds s");
	cmp_ok($waited, '<', $seconds + 10, "$name: the next request comes less than 10 s later than that");
	is_deeply([ $stats->{creates}, $stats->{lists} ], [ 1, $status == 429 ? 0 : 1 ], "$name: the document is looked up unless the status was 429");
	$apis{$name}->stop;
}

# What could not be sent need not wait for the other side to be done.
sql(foreign_server('nowhere', base_url => 'http://127.0.0.1:' . MixpeekTest::unused_port(), request_timeout => '60'));
mirrored_table('nowhere', 'nowhere');
sql("INSERT INTO nowhere VALUES ('x')");
wait_for_states('nowhere', 'pending');
cmp_ok(documents('nowhere')->{x}{wait}, '<', 30, 'a refused connection is tried again soon');
sql('DROP TABLE nowhere');

# An attempt that failed is to be seen.
$api->reset(faults => JSON::PP::true);
mirrored_table('waiting', 'statuses');
$api->faults({ kind => 'status', status => 500, headers => { 'Retry-After' => 1000 } });
sql("INSERT INTO waiting VALUES ('x')");
wait_for_states('waiting', 'pending');
my $waiting = documents('waiting')->{x};
is("$waiting->{attempts} $waiting->{in_doubt}", '1 1', 'a failed attempt: the record is pending and in doubt');
like($waiting->{last_error}, qr/^Mixpeek API failed: 500 /, 'a failed attempt: last_error says why');
cmp_ok($waiting->{wait}, '>', 900, 'a failed attempt: next_attempt_at follows Retry-After');
sql('DROP TABLE waiting');

# A long wait is to be seen, and CALL mixpeek.sync() does not wait for it.
$api->reset(faults => JSON::PP::true);
mirrored_table('limited', 'statuses');
$api->faults({ kind => 'status', status => 429, headers => { 'Retry-After' => 1000 } });
sql('INSERT INTO limited SELECT n::text FROM generate_series(1, 100) n');
wait_for('those that were ready to be put off, too', sub {
	my $limited = documents('limited');
	return keys %$limited > 1 && !grep { $_->{state} ne 'pending' } values %$limited;
});
my $limited = documents('limited');
is_deeply([ grep { $_->{attempts} != 0 || $_->{wait} < 900 || $_->{last_error} !~ /^Mixpeek API refused the request: 429 / } values %$limited ],
	[], '429 with a long Retry-After: all rows are pending, without an attempt');
cmp_ok($api->stats->{requests}, '<=', 16, '429 with a long Retry-After: no more requests than were under way');

# Outages

# An API that is not there: what is wrong, what README says of it, and what ends it.
my $certificates = make_certificates(good => 'IP:127.0.0.1');
my $down = api_server('down_refused');
$down->stop;
my $tls = MixpeekTest::Server->new(api_key => $key, tls_cert => $certificates->{good}{cert}, tls_key => $certificates->{good}{key});
my $locked = api_server('down_unauthorized', {}, api_key => 'sk_another');
my $moved = api_server('down_moved');
$moved->faults({ kind => 'redirect' });
my $failing = api_server('down_failing');
$failing->faults({ kind => 'status', status => 503 });
sql(foreign_server('down_nowhere', base_url => 'https://mixpeek.invalid', connect_timeout => '2'));
sql(foreign_server('down_tls', base_url => $tls->url));
my $here = $api->url;
my %outages = (
	refused => [ qr/^could not connect to the Mixpeek API: Connection refused$/, sub { $down->start } ],
	nowhere => [ qr/^could not connect to the Mixpeek API: (host name could not be resolved|no connection within 2 s)$/,
		sub { sql("ALTER SERVER down_nowhere OPTIONS (SET base_url '$here')") } ],
	tls => [ qr/^could not make a secure connection to the Mixpeek API: /,
		sub { sql("ALTER SERVER down_tls OPTIONS (ADD ca_file '$certificates->{ca}')") } ],
	unauthorized => [ qr/^Mixpeek API refused the request: 401 /,
		sub { sql("SET log_statement = none; ALTER USER MAPPING FOR CURRENT_USER SERVER down_unauthorized OPTIONS (SET api_key 'sk_another')") } ],
	moved => [ qr/^Mixpeek API answered with a redirect: 307/, sub { $moved->faults(); try_at_once('down_moved') } ],
	failing => [ qr/^Mixpeek API failed: 503 /, sub { $failing->faults(); try_at_once('down_failing') } ]);
# Any change of a server makes the worker try it again.
sub try_at_once { return sql("ALTER SERVER $_[0] OPTIONS (SET request_timeout '2')"); }
my $rows = 300;

sub wait_for_end
{
	my ($name) = @_;

	wait_for("$name to end", sub {
		sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'down_$name'::regclass AND state = 'mirrored'") == $rows;
	});
	is(log_lines(qr/server "down_$name" is not usable/, $offset), 1, "outage $name: one log line when it begins");
	is(log_lines(qr/server "down_$name" answers again/, $offset), 1, "outage $name: one log line when it ends");
	return;
}

$offset = -s $node->logfile;
$api->reset(faults => JSON::PP::true);
mirrored_table("down_$_", "down_$_") for sort keys %outages;
sql(join('; ', map { "INSERT INTO down_$_ SELECT '$_' || n FROM generate_series(1, $rows) n" } sort keys %outages));
foreach my $name (sort keys %outages)
{
	wait_for("$name to be an outage", sub { log_lines(qr/server "down_$name" is not usable/, $offset) });
	wait_for('the others to wait', sub { !grep { $_->{state} ne 'pending' } values %{ documents("down_$name") } });
	my @known = values %{ documents("down_$name") };
	is_deeply([ grep { $_->{attempts} > 1 || $_->{last_error} !~ $outages{$name}[0] } @known ], [], "outage $name: last_error says what is wrong");
	is(sql("SELECT (SELECT count(*) FROM mixpeek.outbox WHERE relation = 'down_$name'::regclass)
		+ (SELECT count(*) FROM mixpeek.documents WHERE relation = 'down_$name'::regclass)"), $rows, "outage $name: no row is lost");
}
# Each of these servers counts: one request tries from time to time, when all that were under way have ended.
my %tried = (unauthorized => $locked, moved => $moved, failing => $failing);
my $requests = sub { my $n = 0; $n += $_ for values %{ $tried{ $_[0] }->stats->{status} }; return $n };
my %before = map { $_ => $requests->($_) } keys %tried;
# One that is back by itself is found soon.
(delete $outages{refused})->[1]->();
wait_for_end('refused');
foreach my $name (sort keys %tried)
{
	wait_for("$name: a try", sub { $requests->($name) > $before{$name} });
	cmp_ok($requests->($name), '<=', 16 + 8, "outage $name: one request at a time tries the server");
}
$outages{$_}[1]->() for sort keys %outages;
wait_for_end($_) for sort keys %outages;

# One row stops no other

# The whole batch is claimed and sent at once: rows that cannot be rendered, stored or sent, or that
# the API refuses, between others.
my $poisoned = api_server('poisoned');
$poisoned->faults(
	{ kind => 'status', status => 422, body => '"one form"', answer => { detail => [ { loc => [ 'body', 'metadata' ], msg => 'no such thing', type => 'x' } ] } },
	{ kind => 'status', status => 422, body => '"other form"', answer => { success => JSON::PP::false, status => 422, error => { type => 'ValidationError',
		message => 'wrong', details => { validation_errors => [ { type => 'x', location => [ 'body', 'metadata' ], message => 'no such thing' } ] } } } });
sql(q{
	CREATE TYPE divisor AS ENUM ('zero', 'one');
	CREATE FUNCTION inverse(divisor) RETURNS json LANGUAGE sql IMMUTABLE AS $$SELECT to_json(1 / CASE $1 WHEN 'zero' THEN 0 ELSE 1 END)$$;
	CREATE CAST (divisor AS json) WITH FUNCTION inverse(divisor);
	CREATE TABLE poisoned (id text PRIMARY KEY, v text, d divisor);
	SELECT mixpeek.mirror('poisoned', 'poisoned', server => 'poisoned', backfill => false)});
my %poison = (
	'one form' => qr/^Mixpeek API refused the request: 422 ValidationError: body\.metadata: no such thing$/,
	'other form' => qr/^Mixpeek API refused the request: 422 ValidationError: wrong.body\.metadata: no such thing$/s,
	'no value' => qr/^division by zero$/,
	'too large' => qr/^the document has 17\d+ bytes, more than the API stores \(16777216\)$/);
my $long_key = join('', map { chr(33 + rand(90)) } 1 .. 2600) =~ tr/'/-/r;
sql(qq{
	BEGIN;
	INSERT INTO poisoned SELECT 'before ' || n FROM generate_series(1, 20) n;
	INSERT INTO poisoned VALUES ('one form'), ('other form'), ('$long_key');
	INSERT INTO poisoned VALUES ('no value', '', 'zero'), ('too large', repeat('x', 17000000), NULL);
	INSERT INTO poisoned SELECT 'after ' || n FROM generate_series(1, 20) n;
	COMMIT});
wait_for_states('poisoned', 'failed,mirrored');
my $known = documents('poisoned');
is_deeply([ map { $known->{$_}{state} } grep { /^(before|after) / } keys %$known ], [ ('mirrored') x 40 ], 'rows beside poisonous ones are mirrored');
foreach my $row (sort keys %poison)
{
	is("$known->{$row}{state} $known->{$row}{attempts}", 'failed 1', "poisonous row $row: failed at the first attempt");
	like($known->{$row}{last_error}, $poison{$row}, "poisonous row $row: last_error says why");
}
my ($long) = grep { /\(2600 bytes, / } keys %$known;
is("$known->{$long}{state} $known->{$long}{last_error}", 'failed the key has 2600 bytes, more than can be stored (2000)',
	'a key that no index has room for: failed, with the reason');
sql('DELETE FROM poisoned');
wait_for('nothing to be left of them', sub { !%{ documents('poisoned') } });
is($poisoned->stats->{documents}, 0, 'poisonous rows that are deleted leave no document');

# In a database whose texts may be anything, texts that are not UTF-8.
sql("CREATE DATABASE anything ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0");
sql('CREATE EXTENSION mixpeek_docs', 'anything');
sql(foreign_server('mixpeek', base_url => $poisoned->url), 'anything');
sql(q{
	CREATE TABLE poisoned (id text PRIMARY KEY, v text);
	SELECT mixpeek.mirror('poisoned', 'anything', '{"metadata": {"v": "$v"}}', backfill => false);
	INSERT INTO poisoned VALUES ('good', ''), ('bad value', E'\xff'), (E'bad key \xff', '')}, 'anything');
is(sql('SELECT mixpeek.wait()', 'anything'), 't', 'texts that are not UTF-8: wait() returns true');
is(sql('SELECT string_agg(state, \',\' ORDER BY (key !~ \'good\')) FROM mixpeek.documents', 'anything'), 'mirrored,failed,failed', 'texts that are not UTF-8: their rows fail, another is mirrored');
is(sql('SELECT count(*) FROM mixpeek.documents WHERE last_error ~ \'^invalid byte sequence for encoding "UTF8": 0xff\'', 'anything'), 2, 'texts that are not UTF-8: last_error says so');

# One marker that the API does not like, in a look-up for all.
sql(q{INSERT INTO poisoned SELECT 'row ' || n FROM generate_series(1, 90) n});
wait_for_states('poisoned', 'mirrored');
sql(q{SELECT mixpeek.unmirror('poisoned')});
$poisoned->faults({ kind => 'status', status => 400, path => '/list', body => 'row 33' });
sql(q{SELECT mixpeek.mirror('poisoned', 'poisoned', server => 'poisoned')});
wait_for('all to be looked up', sub {
	sql(q{SELECT count(*) FILTER (WHERE state = 'mirrored') || ' ' || count(*) FILTER (WHERE state = 'failed')
		FROM mixpeek.documents WHERE relation = 'poisoned'::regclass}) eq '89 1';
});
$known = documents('poisoned');
like($known->{'row 33'}{last_error}, qr/^could not ask for the document by its marker, so it was not created: .* 400 /, 'a look-up for many rows of which the API refuses one marker: that row alone fails');
$poisoned->faults();
sql(q{SELECT mixpeek.retry('poisoned')});
wait_for_states('poisoned', 'mirrored');
is_deeply([ @{ $poisoned->stats }{qw(documents duplicates)} ], [ 91, 0 ], 'retry() after a refused look-up: all documents are found, none is created');

# A row that brings the server down each time, all by itself, until the server counts as down.
my $fragile = api_server('fragile');
mirrored_table('fragile', 'fragile');
$fragile->faults({ kind => 'reset_before', body => 'poison' });
set_max_attempts(1000);
$offset = -s $node->logfile;
sql(q{INSERT INTO fragile VALUES ('poison')});
wait_for('the server to count as down', sub { log_lines(qr/server "fragile" is not usable/, $offset) });
sql(q{INSERT INTO fragile SELECT 'good ' || n FROM generate_series(1, 20) n});
wait_for('the others', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'fragile'::regclass AND state = 'mirrored'") == 20 });
pass('a row that breaks each connection keeps no other from being mirrored');
set_max_attempts(1);
wait_for_states('fragile', 'failed,mirrored');
is(documents('fragile')->{poison}{state}, 'failed', 'a row that breaks each connection fails in the end');
set_max_attempts(3);

# Requests wait in the client behind those that are under way, while their server is well

my $queued = api_server('queued', { max_connections => 10 }, latency => 5);
mirrored_table('queued', 'queued');
sql(q{INSERT INTO queued SELECT n::text, 'x' FROM generate_series(1, 500) n});
wait_for_states('queued', 'mirrored');
is($queued->stats->{max_in_flight}, 10, 'max_connections are used, and not exceeded');
$queued->reset;
$queued->faults({ kind => 'status', status => 503 });
$offset = -s $node->logfile;
sql(q{INSERT INTO queued SELECT n::text, 'x' FROM generate_series(501, 1000) n});
wait_for('the server to count as down', sub { log_lines(qr/server "queued" is not usable/, $offset) });
cmp_ok($queued->stats->{status}{503}, '<=', 5 + 10, 'requests that wait in the client are not sent when the server is found to be down');
$queued->faults();
wait_for_states('queued', 'mirrored');
is_deeply([ @{ $queued->stats }{qw(documents duplicates)} ], [ 1000, 0 ], 'requests that wait in the client are sent when the server is back, without duplicates');
$queued->faults({ kind => 'status', status => 401 });
$offset = -s $node->logfile;
sql(q{UPDATE queued SET v = 'y' WHERE id::int <= 100});
wait_for('the server to count as down', sub { log_lines(qr/server "queued" is not usable/, $offset) });
wait_for('all but a probe to wait', sub { sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'queued'::regclass AND state = 'sending'") <= 1 });
is(sql("SELECT count(*) FROM mixpeek.documents WHERE relation = 'queued'::regclass AND state = 'pending' AND last_error IS NULL"), 0,
	'rows that wait for a server that is down say why');
$queued->faults();
sql('ALTER SERVER queued OPTIONS (SET request_timeout \'3\')');
wait_for_states('queued', 'mirrored');

# Thousands of documents to ask for enrichments, a hundred a request and one request at once

sql('ALTER SERVER queued OPTIONS (SET max_connections \'1\'); INSERT INTO queued SELECT n::text, \'x\' FROM generate_series(1001, 4000) n');
wait_for_states('queued', 'mirrored');
$queued->config(latency => 50);
$queued->reset;
sql(q{BEGIN; UPDATE mixpeek.documents SET next_attempt_at = now() WHERE relation = 'queued'::regclass;
	UPDATE queued SET v = 'changed' WHERE id = '4000'; COMMIT});
wait_for('the change', sub { $queued->stats->{updates} == 1 });
cmp_ok($queued->stats->{lists}, '<', 20, 'a change does not wait for thousands of polls');
wait_for('the looks', sub { $queued->stats->{lists} >= 40 });
pass('thousands of polls go on beside a change');
$queued->stop;

# One server stops no other

# A server that never answers, with more than fits into memory waiting for it, and one that is not there.
my $hanging = api_server('hanging', { request_timeout => '60' });
my $lively = api_server('lively');
$hanging->faults({ kind => 'hang' });
sql(foreign_server('absent', base_url => 'http://127.0.0.1:' . MixpeekTest::unused_port()));
mirrored_table($_, $_) for qw(hanging absent lively);
sql(q{
	INSERT INTO hanging SELECT n::text, repeat('x', 1000000) FROM generate_series(1, 40) n;
	INSERT INTO absent SELECT n::text, repeat('x', 1000000) FROM generate_series(1, 40) n});
wait_for('requests to hang', sub { $hanging->stats->{in_flight} >= 4 });
sql(q{INSERT INTO lively SELECT n::text, 'x' FROM generate_series(1, 1000) n});
wait_for_states('lively', 'mirrored');
is($lively->stats->{documents}, 1000, 'a server that hangs and one that is absent do not hold up another');
cmp_ok($hanging->stats->{in_flight}, '>=', 4, 'requests of the server that hangs are still under way');
sql('DROP TABLE hanging, absent');
$hanging->stop;

# An API that looks no document up by its marker

my $blind = api_server('blind', {}, filter => 'off');
sql(q{
	CREATE TABLE blind (id text PRIMARY KEY, v text);
	INSERT INTO blind SELECT n FROM generate_series(1, 120) n;
	SELECT mixpeek.mirror('blind', 'blind', server => 'blind')});
wait_for_states('blind', 'failed');
is(sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'blind'::regclass
	AND last_error ~ '^could not ask for the document by its marker, so it was not created: .*: 400 .*Filters'}), 120, 'an API without filters: rows that need a look-up fail, with the reason');
cmp_ok($blind->stats->{lists}, '<', 20, 'an API without filters: few requests find that out');
is($blind->stats->{creates}, 0, 'an API without filters: nothing is created');
sql(q{INSERT INTO blind VALUES ('fresh')});
wait_for('a fresh row', sub { documents('blind')->{fresh}{state} eq 'mirrored' });
pass('an API without filters: a row that is certain to be new is mirrored');
sql(q{ALTER SERVER blind OPTIONS (ADD if_unfindable 'create'); SELECT mixpeek.retry('blind', error => 'could not ask for%')});
wait_for_states('blind', 'mirrored');
is_deeply([ @{ $blind->stats }{qw(documents duplicates)} ], [ 121, 0 ], "if_unfindable 'create': rows that cannot be looked up are created");

# Where a key might be seen

is(sql("SELECT count(*) FROM (SELECT to_jsonb(d)::text FROM mixpeek.documents d UNION ALL SELECT to_jsonb(m)::text FROM mixpeek.mirrors m
	UNION ALL SELECT to_jsonb(a)::text FROM pg_stat_activity a UNION ALL SELECT to_jsonb(o)::text FROM mixpeek.outbox o) x (line) WHERE line ~ 'sk_[a]_key'"),
	0, 'no view has the key');

# The limits

foreach my $name (sort keys %limits)
{
	my ($rate, $burst, $rows) = @{ $limits{$name} };

	wait_for("$name: all rows", sub {
		$limits_node->safe_psql('postgres', "SELECT count(*) FROM mixpeek.documents WHERE relation = '$name'::regclass AND state = 'mirrored'") == $rows;
	});
	my $stats = $limited{$name}->stats;
	my $permitted = $burst + $rate / 60 * ($stats->{last_request_at} - $stats->{first_request_at});
	my $option = 10 + 600 / 60 * ($stats->{last_request_at} - $stats->{first_request_at});
	note(sprintf('%s: %d requests of %.0f that the server permits', $name, $stats->{requests}, $permitted));
	cmp_ok($stats->{requests}, '>=', 0.98 * $permitted, "limit $name: it is used") if $name ne 'option';
	cmp_ok($stats->{requests}, '<=', $option + 1, "limit $name: requests_per_minute is kept") if $name eq 'option';
	cmp_ok($stats->{status}{429} // 0, '<=', 0.01 * $rows, "limit $name: it is not exceeded");
	is_deeply([ @$stats{qw(documents duplicates)} ], [ $rows, 0 ], "limit $name: no document is lost or doubled");
}
$limits_node->stop;

# Nothing is hidden but the key

$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/LOG: +statement: CREATE TABLE poisoned/, 'the log has all statements');
like($log, qr/DEBUG: /, 'the log has debug messages');
ok(index($log, $key) < 0, 'the log does not have the key');

done_testing();
