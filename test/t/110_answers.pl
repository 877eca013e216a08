# What the other side can do to us by its answers: say what it likes, as much as it likes, as slowly as it
# likes. One test for each attack and fault (their numbers are those of issue 11), and others of the same kinds.
use strict;
use warnings;
use IO::Socket::INET;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;

my $key = 'sk_live/THE"SECRET_KEY';
my $node = mixpeek_node('main', q{
shared_preload_libraries = 'mixpeek_docs'
shared_buffers = 16MB
mixpeek.max_attempts = 1
mixpeek.retry_max_delay = 1
log_statement = none
});
my $mb = 1024 * 1024;
my %apis;

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub quoted { return MixpeekTest::quote($_[0]); }

# A server of the tests' own, and a mirrored table; all of one name.
sub table_on
{
	my ($name, %options) = @_;

	$apis{$name} = MixpeekTest::Server->new(api_key => $key, record => 1, %{ delete $options{api} // {} });
	create_server($node, $name, $apis{$name}, request_timeout => '20', %options);
	sql(qq{CREATE TABLE $name (id text PRIMARY KEY, v text);
		SELECT mixpeek.mirror('$name', '$name', '{"metadata": {"id": "\$id"}}', server => '$name', backfill => false)});
	return $apis{$name};
}

sub finish
{
	my ($name) = @_;
	sql("DROP TABLE $name");
	$apis{$name}->stop;
	return;
}

sub document
{
	my ($table, $id) = @_;
	return decode_json(sql(qq{SELECT coalesce((SELECT to_jsonb(d) - 'enrichments' || jsonb_build_object('size', octet_length(enrichments::text))
		FROM mixpeek.documents d WHERE relation = '$table'::regclass AND key = } . quoted($id) . q{), '{}')}));
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

# Inserts a row, whose create is answered so; returns what is known of it then.
sub answered
{
	my ($table, $id, %fault) = @_;

	$apis{$table}->faults({ kind => 'status_after', status => 200, method => 'POST', body => '"' . ($id =~ s/"/\\"/gr) . '"', count => 1, %fault });
	sql("INSERT INTO $table VALUES (" . quoted($id) . ')');
	wait_for("an end of $id", sub { (document($table, $id)->{state} // '') =~ /mirrored|failed/ });
	$apis{$table}->faults();
	return document($table, $id);
}

sub is_kept
{
	my ($document, $name) = @_;
	is($document->{state}, 'mirrored', "$name: the document is mirrored");
	is($document->{last_error}, undef, "$name: last_error is empty");
	cmp_ok($document->{size} // 0, '>', 0, "$name: its enrichments are kept");
	return;
}

sub is_unkept
{
	my ($document, $why, $name) = @_;
	is($document->{state}, 'mirrored', "$name: the document is mirrored");
	like($document->{last_error}, $why, "$name: last_error says why its enrichments were not kept");
	is($document->{size}, undef, "$name: no enrichments are kept");
	return;
}

# The error of a statement of a session: SQLSTATE, message and detail.
sub error_of
{
	my ($statement) = @_;
	my ($rc, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$statement");
	return $rc ? $error : 'no error';
}

sub worker_pid { return sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'mixpeek_docs worker' AND datname = 'postgres'"); }

sub log_lines
{
	my ($pattern, $offset) = @_;
	return scalar(grep { $_ =~ $pattern } split(/\n/, slurp_file($node->logfile, $offset // 0)));
}

# The most memory of its own that the worker had since forget_peak(), in MB.
sub forget_peak { my ($pid) = @_; append_to_file("/proc/$pid/clear_refs", '5'); return; }
sub memory
{
	my ($pid, $what) = @_;
	my ($kb) = slurp_file("/proc/$pid/status") =~ /^$what:\s+(\d+) kB/m or die "no $what";
	return $kb / 1024;
}

table_on('answers');
my $worker = worker_pid();
my $first_worker = $worker;

# 18: the key comes back

sub escape_all { return join('', map { sprintf('\\u%04X', ord) } split(//, $_[0])); }
my $json_key = JSON::PP->new->allow_nonref->encode($key) =~ s/^"|"$//gr;
my %echoes = (
	'as it is' => $json_key,
	"with JSON's short escapes" => $json_key =~ s{/}{\\/}gr,
	'all in JSON escapes' => escape_all($key),
	'one character escaped' => $json_key =~ s/live/\\u006cive/r,
	'as a URL has it' => $key =~ s/([^A-Za-z0-9])/sprintf('%%%02x', ord($1))/ger,
	'within a header' => "Authorization: Bearer $json_key\\r\\nX-Namespace: test",
	'as the nearly same twice' => "sk_live/sk_live/$json_key");
my $offset = -s $node->logfile;
foreach my $how (sort keys %echoes)
{
	my $document = answered('answers', "18 $how", status => 400, answer => qq({"error":{"type":"$echoes{$how}","message":"you sent $echoes{$how}"}}));
	unlike($document->{last_error}, qr/SECRET|%53ECRET|live.*KEY/, "the key in an error, $how: last_error does not have it");
	like($document->{last_error}, qr/^Mixpeek API refused the request: 400 .*\*\*\*.*: you sent .*\*\*\*/s, "the key in an error, $how: last_error has asterisks instead");
	my $kept = answered('answers', "18e $how", answer => qq({"document_id":"e","enrichments":{"echo":"$echoes{$how}"}}));
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE key = " . quoted("18e $how") . " AND enrichments->>'echo' LIKE '%***%' AND enrichments::text !~ 'SECRET'"),
		1, "the key in enrichments, $how: they have asterisks instead");
	$apis{answers}->faults({ kind => 'status', status => 403, answer => qq({"error":{"type":"$echoes{$how}","message":"$echoes{$how}"}}) });
	my $error = error_of("SELECT mixpeek.get_document('c', 'd', server => 'answers')");
	like($error, qr/42501.*\*\*\*/s, "the key in an error of a session, $how: it has asterisks instead") or diag($error);
	unlike($error, qr/SECRET/, "the key in an error of a session, $how: it does not have the key");
	$apis{answers}->faults();
}
is(answered('answers', '18 raw', status => 500, answer => "not JSON: $key")->{last_error}, 'Mixpeek API failed: 500: not JSON: ' . '*' x length($key), 'the key in an excerpt of an answer that is not JSON: asterisks instead');
wait_for('the log to tell', sub { log_lines(qr/documents? failed: Mixpeek API refused the request: 400$/, $offset) });
is(log_lines(qr/LOG: .*(\*\*\*|you sent)/, $offset), 0, 'the log has no words of the API');
is(log_lines(qr/SECRET/, $offset), 0, 'the log does not have the key') or diag(join("\n", map { substr($_, 0, 300) } grep { /SECRET/ } split(/\n/, slurp_file($node->logfile, $offset))));

# 30: what a terminal would take for more than text

my $controls = '"\u009b31m \u202eevil\u2066\u2069\u200e\u200f\u061c\u0085\u2028\ufeff\u0007end"';
$offset = -s $node->logfile;
my $said = answered('answers', '30', status => 401 + 1, answer => qq({"error":{"type":$controls,"message":$controls}}));
unlike($said->{last_error}, qr/[\x00-\x1f\x7f-\x9f\x{202a}-\x{202e}\x{2066}-\x{2069}\x{200e}\x{200f}\x{61c}\x{2028}\x{feff}]/, 'control characters are removed from an error');
like($said->{last_error}, qr/31m evil.*end: 31m evil.*end$/, 'control characters are removed from an error, and its text is left');
$said = answered('answers', '30 excerpt', status => 402, answer => "\x{9b}31m \x{202e}no JSON \x{e9}");
is($said->{last_error}, "Mixpeek API refused the request: 402: 31m no JSON \x{e9}", 'control characters are removed from an excerpt of an answer that is not JSON');
is(log_lines(qr/\xc2\x9b|\xe2\x80\xae/, $offset), 0, 'control characters of answers are not in the log');

# D11: an error as long as the other side likes

my $numbers = join(',', ('1e131071') x 200);
$said = answered('answers', 'D11', status => 422, answer => qq({"detail":[{"loc":["body",$numbers],"msg":"no"}]}));
cmp_ok(length($said->{last_error}), '<=', 2000, '200 long numbers in the path of an error: last_error has at most 2,000 characters');
$said = answered('answers', 'D11 one', status => 422, answer => '{"detail":[{"loc":["body",1e131071],"msg":"no"}]}');
cmp_ok(length($said->{last_error}), '<=', 500, 'a long number in the path of an error: last_error has at most 500 characters');
like($said->{last_error}, qr/422 ValidationError: body\.10{50,100}\.\.\.: no$/, 'a long number in the path of an error: its beginning is shown');
my $texts = join(',', (qq({"loc":[@{[ join(',', ('"' . 'x' x 200 . '"') x 30) ]}],"msg":"@{[ 'y' x 5000 ]}"})) x 10);
$said = answered('answers', 'D11 many', status => 422, answer => qq({"detail":[$texts]}));
cmp_ok(length($said->{last_error}), '<=', 2000, 'many errors with long parts: last_error has at most 2,000 characters');
$said = answered('answers', 'D11 huge', kind => 'huge', bytes => 20 * $mb, start => '{"error":{"message":"', end => '"}}');
cmp_ok(length($said->{last_error}), '<=', 2000, 'an error of 20 MB: last_error has at most 2,000 characters');

# 19, 66b, D4, m12: enrichments that are too much

sub enrichments { return qq({"document_id":"x","enrichments":{"a":$_[0]}}); }
sub nested { my ($n) = @_; return '[' x $n . '1' . ']' x $n; }

is_unkept(answered('answers', '19', answer => enrichments('[' . join(',', ('1e131071') x 20000) . ']')), qr/^its enrichments were not kept: they have \d+ bytes with its numbers written out, more than 1048576$/, 'numbers that are long when they are written out');
is_unkept(answered('answers', '19 small', answer => enrichments('[' . join(',', ('1e-131071') x 20000) . ']')), qr/^its enrichments were not kept: they have/, 'numbers with many digits behind the point');
is_unkept(answered('answers', '19 beyond', answer => enrichments('1e99999999999999999999')), qr/^its enrichments were not kept: they have/, 'a number that no type can hold');
is_unkept(answered('answers', '19 just beyond', answer => enrichments('1e200000')), qr/^its enrichments were not kept: value overflows numeric format/, 'a number that jsonb cannot hold');
is_kept(answered('answers', '19 double', answer => enrichments('[1.7976931348623157e308,-4.9e-324]')), 'the largest and the smallest double');
is_unkept(answered('answers', '19 root', answer => '{"document_id":"x","a":1,"b":[' . join(',', ('1e131071') x 20) . ']}'), qr/^its enrichments were not kept: they have \d+ bytes/, 'numbers that are long when they are written out, in a field at the root');
is_unkept(answered('answers', '66b', answer => enrichments(nested(14551))), qr/^its enrichments were not kept: they have 14552 levels of arrays and objects, more than 64$/, '14,552 levels of nesting');
is_unkept(answered('answers', '66b 65', answer => enrichments(nested(64))), qr/: they have 65 levels/, '65 levels of nesting');
is_kept(answered('answers', '66b 64', answer => enrichments(nested(63))), '64 levels of nesting');
is_unkept(answered('answers', '66b root', answer => '{"document_id":"x","a":' . nested(64) . '}'), qr/: they have 65 levels/, '65 levels of nesting in a field at the root');
is(answered('answers', '66b metadata', answer => '{"document_id":"x","metadata":' . nested(14000) . '}')->{state}, 'mirrored', '14,000 levels of nesting in metadata: the document is mirrored');
like(answered('answers', '66b deep', answer => '{"document_id":"x","metadata":' . nested(100000) . '}')->{last_error}, qr/not valid JSON: The answer cannot be read: it is no JSON from byte/, '100,000 levels of nesting in metadata: the answer is no JSON');
is_unkept(answered('answers', 'null', answer => enrichments('"\u0000"')), qr/^its enrichments were not kept: unsupported Unicode escape sequence/, 'enrichments with a NUL character');
is_unkept(answered('answers', 'surrogate', answer => enrichments('"\ud800"')), qr/^its enrichments were not kept: invalid input syntax/, 'enrichments with half a surrogate pair');
is_unkept(answered('answers', 'm12', answer => '{"document_id":"x",' . join(',', map { qq("f$_":$_) } 1 .. 200_000) . '}'), qr/: they have \d+ (values|bytes)/, '200,000 fields at the root');
is_unkept(answered('answers', 'large', kind => 'huge', bytes => 2 * $mb, start => '{"document_id":"x","enrichments":{"a":"', end => '"}}'), qr/: they have 2097\d+ bytes .*more than 1048576$/, 'enrichments of 2 MB');
is_kept(answered('answers', 'less large', kind => 'huge', bytes => $mb, start => '{"document_id":"x","enrichments":{"a":"', end => '"}}'), 'enrichments of a megabyte');
is_unkept(answered('answers', 'D4', kind => 'huge', bytes => 31 * $mb, start => '{"document_id":"x","enrichments":{"a":[', unit => '1,', end => '1]}}'), qr/: they have 16\d+ values, more than 100000$/, 'enrichments of sixteen million elements');
is_unkept(answered('answers', 'D4 pairs', kind => 'huge', bytes => 31 * $mb, start => '{"document_id":"x","enrichments":{"a":{', unit => '"":1,', end => '"":1}}}'), qr/: they have \d+ values/, 'enrichments of millions of pairs');
like(answered('answers', 'D4 over', kind => 'huge', bytes => 34 * $mb, start => '{"document_id":"x","enrichments":{"a":[', unit => '1,', end => '1]}}')->{last_error},
	qr/^answer of the Mixpeek API is too large: answer has more than 32 MB$/, 'an answer of 34 MB is not read');
like(answered('answers', 'D4 chunked', kind => 'huge', chunked => JSON::PP::true, bytes => 34 * $mb)->{last_error},
	qr/answer has more than 32 MB$/, 'a chunked answer of 34 MB is not read');

# What is stored can be dumped, and restored.
command_ok([ 'pg_dump', '--data-only', '-f', "$node->{_basedir}/dump.sql", $node->connstr('postgres') ], 'pg_dump of what is stored');
my $copy = "$node->{_basedir}/copy";
is(sql(qq{COPY (SELECT enrichments FROM mixpeek.documents) TO '$copy'; CREATE TABLE copies (e jsonb); COPY copies FROM '$copy'; SELECT count(*) > 0 FROM copies}), 't', 'COPY of stored enrichments can be read again');

# The same as answers to a look-up

$apis{answers}->reset(documents => JSON::PP::true);
sql(q{DELETE FROM answers; SELECT mixpeek.wait('60 s')});
# Its last attempt has ended, and is not the create that failed.
sub is_over
{
	my $document = document('answers', $_[0]);
	return $document->{state} =~ /mirrored|failed/ && ($document->{attempts} != 1 || ($document->{last_error} // '') !~ /500/);
}
sub looked_up
{
	my ($id, %fault) = @_;

	# the create is lost, so a look-up follows, whose answer is the fault's
	$apis{answers}->faults(
		{ kind => 'status_after', status => 500, method => 'POST', path => '/list', %fault, count => 1 },
		{ kind => 'status_after', status => 500, method => 'POST', body => qq("$id"), count => 1 });
	sql('INSERT INTO answers VALUES (' . quoted($id) . ')');
	wait_for('the create to fail', sub { (document('answers', $id)->{state} // '') eq 'failed' });
	sql("SELECT mixpeek.retry('answers')");
	wait_for("an end of $id", sub { $apis{answers}->stats->{fault_kinds}{ $fault{kind} // 'status_after' } && sql(q{SELECT count(*) FROM mixpeek.outbox}) eq '0'
		&& is_over($id) });
	$apis{answers}->faults();
	return document('answers', $id);
}
my $origin = sql('SELECT id FROM mixpeek.origin');
sub listed { my ($id, $rest) = @_; return qq({"document_id":"found $id","metadata":{"id":"$id","mixpeek_docs":"$origin:public.answers:$id"}$rest}); }
my $listed = looked_up('plain', status => 200, answer => '{"results":[' . listed('plain', ',"enrichments":{"a":1}') . ']}');
is("$listed->{state} $listed->{document_id} " . ($listed->{size} // 0), 'mirrored found plain 8', 'look-up: a document is found');
$listed = looked_up('D4', kind => 'huge', bytes => 31 * $mb, start => '{"results":[' . listed('D4', ',"enrichments":{"a":[') =~ s/\}$//r, unit => '1,', end => '1]}}]}');
is_unkept($listed, qr/: they have 16\d+ values, more than 100000$/, 'look-up: sixteen million elements');
$listed = looked_up('thousands', kind => 'huge', bytes => 31 * $mb, start => '{"results":[', unit => listed('thousands', '') . ',', end => listed('thousands', '') . ']}');
like($listed->{last_error}, qr/the API lists documents that were not asked for/, 'look-up: a list of far more documents than were asked for fails');
$listed = looked_up('dots', status => 200, answer => '{"results":[' . listed('dots', '') =~ s/found dots/../r . ']}');
isnt($listed->{document_id} // '', '..', 'look-up: ".." is no document_id');
is(worker_pid(), $worker, 'look-ups with huge answers: the worker is not replaced');

# 20: an id that is a step within a path, or none

foreach my $id ('.', '..', '', 'x' x 1001, 7, undef)
{
	my $text = JSON::PP->new->allow_nonref->encode($id);
	my $document = answered('answers', '20 ' . substr($text, 0, 10), answer => qq({"document_id":$text}));
	is($document->{document_id}, undef, 'document_id ' . substr($text, 0, 10) . ' is not stored');
	like($document->{last_error}, qr/^the API's answer holds no document_id$/, 'document_id ' . substr($text, 0, 10) . ': last_error says so');
}
sql(q{DELETE FROM answers; SELECT mixpeek.wait('60 s')});
is_deeply([ grep { $_->{path} =~ m{/documents/\.{0,2}$} } @{ $apis{answers}->requests } ], [], "no request has \".\" or \"..\" as a document's id in its path");

# D12, and what sessions read

sub session_error
{
	my ($call, %fault) = @_;
	$apis{answers}->faults({ kind => 'status', status => 200, %fault });
	my $error = error_of("SELECT count(*) FROM $call");
	$apis{answers}->faults();
	return $error;
}
my $list = q{mixpeek.list_documents('answers', server => 'answers')};
my $get = q{mixpeek.get_document('answers', 'd', server => 'answers')};
like(session_error($list, answer => '{"results":[{"document_id":"a"}],"pagination":{"page_size":-1e100}}'), qr/08P01/, 'list_documents(): a negative page_size fails');
like(session_error($list, answer => '{"results":[{"document_id":"a"}],"pagination":{"page_size":1e100}}', count => 1), qr/no error/, 'list_documents(): a huge page_size is no error');
like(session_error($list, answer => '{"results":[{"document_id":"a"}],"pagination":{"next_cursor":"' . 'x' x 10000 . '"}}'), qr/08P01.*cursor of more than 4096 bytes/s, 'list_documents(): a cursor of 10,000 bytes fails');
like(session_error($get, answer => '{"document_id":"a","metadata":' . nested(1000) . '}'), qr/54000.*1001 levels of arrays and objects, more than 1000/s, 'get_document(): 1,001 levels of nesting fail');
like(session_error($get, answer => '{"document_id":"a","metadata":' . nested(999) . '}'), qr/no error/, 'get_document(): 1,000 levels of nesting are no error');
like(session_error($get, answer => '{"document_id":"a","metadata":[' . join(',', ('1e131000') x 600) . ']}'), qr/54000.*bytes with its numbers written out/s, 'get_document(): numbers that are long when they are written out fail');
like(session_error($get, kind => 'huge', bytes => 20 * $mb, start => '{"document_id":"x","metadata":[', unit => '1,', end => '1]}'), qr/54000.*values, more than 4000000/s, 'get_document(): ten million values fail');
like(session_error($get, kind => 'huge', bytes => 40 * $mb), qr/54000.*more than 32 MB/s, 'get_document(): an answer of 40 MB fails');
like(session_error($get, answer => '{"document_id":"a","metadata":"\u0000"}'), qr/08P01.*unsupported Unicode escape/s, 'get_document(): a NUL character fails');

# D6, 13: counters that are full

$apis{answers}->config(enrich => 'never');
sql("INSERT INTO answers VALUES ('looks')");
wait_for_states('answers', 'mirrored');
sql("UPDATE mixpeek.documents SET enrichment_polls = 32767, next_attempt_at = NULL WHERE key = 'looks'");
foreach my $time (1, 2)
{
	$apis{answers}->reset;
	sql("SELECT mixpeek.refresh('answers')");
	wait_for('the look', sub { $apis{answers}->stats->{lists} == 1 && sql("SELECT count(*) FROM mixpeek.outbox") eq '0' });
	wait_for('its end', sub { sql("SELECT enrichment_polls || ' ' || (next_attempt_at IS NULL) FROM mixpeek.documents WHERE key = 'looks'") eq '32767 true' });
}
pass('a poll counter at its maximum stays there, and no poll is planned');
# Due in a moment: the worker has passed what was due when a slow UPDATE began.
sql("UPDATE mixpeek.documents SET enrichment_polls = -32768, attempts = 2147483647, state = 'pending', content_hash = NULL, next_attempt_at = clock_timestamp() + '3 s' WHERE key = 'looks'");
sql("SELECT mixpeek.refresh('answers')");
wait_for_states('answers', 'mirrored');
cmp_ok(sql("SELECT enrichment_polls FROM mixpeek.documents WHERE key = 'looks'"), '<', 10, 'a poll counter below zero and an attempt counter at its maximum do no harm');
finish('answers');

# D5, D14: headers that say odd things of the rate

my %odd = (
	'D5 other units' => [ 0, { 'X-RateLimit-Limit' => 60, 'X-RateLimit-Window' => 60000 } ],
	'D5 one a minute' => [ 0, { 'X-RateLimit-Limit' => 1, 'X-RateLimit-Window' => 60, 'X-RateLimit-Remaining' => 0 } ],
	'D14 infinite' => [ 0, { 'X-RateLimit-Limit' => '1e308', 'X-RateLimit-Window' => '1e-308', 'X-RateLimit-Remaining' => '1e308' } ],
	'D14 nearly nothing' => [ 0, { 'X-RateLimit-Limit' => '1e-308', 'X-RateLimit-Window' => '1e308', 'X-RateLimit-Remaining' => 0 } ],
	'no numbers' => [ 0, { 'X-RateLimit-Limit' => 'nan', 'X-RateLimit-Window' => 'inf', 'X-RateLimit-Remaining' => '-0', 'Retry-After' => '1e400', 'X-RateLimit-Reset' => '-1' } ]);
my $rate = 0;
foreach my $name (sort keys %odd)
{
	my $table = 'rate' . ++$rate;
	table_on($table);
	$apis{$table}->faults({ kind => 'status', status => 200, after => 4, count => 1, method => 'POST', answer => '{"document_id":"odd"}', headers => $odd{$name}[1] });
	my $start = time();
	sql("INSERT INTO $table SELECT n FROM generate_series(1, 200) n");
	wait_for_states($table, 'mirrored');
	cmp_ok(time() - $start, '<', 20, "rate headers, $name: the other rows are not held up");
	finish($table);
}

# D13

foreach my $value ('1e-300', '0.009', '1e300', 'NaN', '-1')
{
	like(error_of("CREATE SERVER tiny FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (requests_per_minute '$value')"), qr/must be a number from 0.01 to 1000000000/, "requests_per_minute $value is refused");
}
table_on('slow', requests_per_minute => '0.01');
sql("INSERT INTO slow VALUES ('one'), ('two')");
wait_for('the first', sub { $apis{slow}->stats->{creates} == 1 });
is(worker_pid(), $worker, 'requests_per_minute 0.01: the worker is not replaced');
finish('slow');

# D3: the rest after a request whose answer is not known is counted from its end

sub breaking_server
{
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => 0, Proto => 'tcp', Listen => 10) or die "no port: $!";
	my $times = PostgreSQL::Test::Utils::tempdir() . '/times';
	my $pid = fork() // die "no process: $!";

	return ($socket->sockport, $times, $pid) if $pid;
	while (my $connection = $socket->accept)
	{
		my $request = '';
		$connection->sysread($request, 65536, length($request)) || last until $request =~ /\r\n\r\n/;
		append_to_file($times, join(' ', time(), $request =~ /^(\S+ \S+)/) . "\n");
		select(undef, undef, undef, 2);    # the other side, at work
		append_to_file($times, time() . " end\n");
		$connection->close;
	}
	POSIX::_exit(0);
}
my ($port, $times, $breaking) = breaking_server();
sql("ALTER SYSTEM SET mixpeek.max_attempts = 3; SELECT pg_reload_conf()");
create_server($node, 'breaking', "http://127.0.0.1:$port", request_timeout => '3', api_key => $key);
sql(q{CREATE TABLE breaking (id text PRIMARY KEY); SELECT mixpeek.mirror('breaking', 'c', server => 'breaking', backfill => false); INSERT INTO breaking VALUES ('x')});
wait_for('the second request', sub { -e $times && (() = slurp_file($times) =~ m{ POST }g) >= 2 });
my (undef, $ended, $asked) = slurp_file($times) =~ /^([\d.]+)/mg;
cmp_ok($asked - $ended, '>=', 2.9, 'after a request without an answer the next one comes request_timeout after its end');
sql('DROP TABLE breaking');
kill('KILL', $breaking);
waitpid($breaking, 0);
sql("ALTER SYSTEM RESET mixpeek.max_attempts; SELECT pg_reload_conf()");

# D7: HTTP/1.1 is what is asked for

my $certificates = make_certificates(server => 'IP:127.0.0.1');
my $tls_port = MixpeekTest::unused_port();
my ($tls_in, $tls_out) = ('', '');
my $tls = IPC::Run::start([ 'openssl', 's_server', '-accept', "127.0.0.1:$tls_port", '-cert', $certificates->{server}{cert}, '-key', $certificates->{server}{key},
	'-alpn', 'h2,http/1.1' ], '<', \$tls_in, '>&', \$tls_out);
wait_for('openssl', sub { $tls->pump_nb; $tls_out =~ /ACCEPT/ });
create_server($node, 'tls', "https://127.0.0.1:$tls_port", ca_file => $certificates->{ca}, api_key => $key, request_timeout => '2');
like(error_of(q{SELECT mixpeek.get_document('c', 'd', server => 'tls')}), qr/08006/, 'TLS server without an answer: SQLSTATE 08006');
wait_for('its output', sub { $tls->pump_nb; $tls_out =~ /ALPN protocols advertised/ });
like($tls_out, qr{ALPN protocols advertised by the client: http/1\.1\s}, 'TLS server: the client offers HTTP/1.1 only');
$tls->kill_kill;
undef $tls;

# 32: who may redirect a key

sql(q{CREATE ROLE thief LOGIN; CREATE ROLE victim LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER mixpeek_docs TO thief});
my $thief_api = MixpeekTest::Server->new(api_key => 'sk_of_the_victim', record => 1);
my $api_url = $thief_api->url;
sub as { my ($role, $statements) = @_; return "SET SESSION AUTHORIZATION $role; $statements"; }
sql(as('thief', "CREATE SERVER trap FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '$api_url'); GRANT USAGE ON FOREIGN SERVER trap TO victim"));
sql(as('victim', "CREATE USER MAPPING FOR victim SERVER trap OPTIONS (api_key 'sk_of_the_victim', base_url '$api_url/')"));
my $victim_get = as('victim', q{SELECT mixpeek.get_document('c', 'd', server => 'trap')});
like(error_of($victim_get), qr/P0002/, 'a mapping with base_url: its key is sent there');
sql(as('thief', "ALTER SERVER trap OPTIONS (SET base_url 'http://127.0.0.1:1')"));
like(error_of($victim_get), qr/42501: the API key for server "trap" may not be sent to "http:..127.0.0.1:1".*base_url is "$api_url".*HINT/s, 'a mapping with base_url: its key is sent nowhere else');
foreach my $change ("DROP base_url", "SET base_url 'http://127.0.0.1:1'")
{
	like(error_of(as('thief', "ALTER USER MAPPING FOR victim SERVER trap OPTIONS ($change)")), qr/42501: permission denied to change the option "base_url" of another user's mapping/, "a mapping with base_url: the server's owner may not $change");
}
like(error_of($victim_get), qr/42501/, 'a mapping with base_url: nothing is changed by what was refused');
is(error_of(as('victim', "ALTER USER MAPPING FOR victim SERVER trap OPTIONS (SET base_url 'http://127.0.0.1:1')")), 'no error', 'a mapping with base_url: its user may change it');
like(error_of($victim_get), qr/08001/, 'a mapping with base_url: a change takes effect at once');
is(error_of(as('victim', "ALTER USER MAPPING FOR victim SERVER trap OPTIONS (DROP base_url)")), 'no error', 'a mapping with base_url: its user may drop it');
sql('GRANT CREATE ON SCHEMA public TO victim');
sql(as('victim', "CREATE TABLE pinned (id int PRIMARY KEY); SELECT mixpeek.mirror('pinned', 'c', server => 'trap', backfill => false);
	ALTER USER MAPPING FOR victim SERVER trap OPTIONS (ADD base_url 'https://api.mixpeek.com'); INSERT INTO pinned VALUES (1)"));
wait_for_states('pinned', 'pending');
like(document('pinned', '1')->{last_error}, qr/the API key for server "trap" may not be sent to/, 'a mapping with base_url: rows for another address are pending, with the reason');
sql('DROP TABLE pinned');
$thief_api->stop;

# 31: sixteen answers of 64 MB at once, of all kinds; and others meanwhile

table_on('bystander', api => { enrich => 'now' });
sql("INSERT INTO bystander VALUES ('warm')");
wait_for_states('bystander', 'mirrored');
my %large = (
	'that say how long they are' => { bytes => 64 * $mb },
	'that do not' => { bytes => 64 * $mb, chunked => JSON::PP::true },
	'that are just not too large' => { bytes => 31 * $mb, chunked => JSON::PP::true, start => '{"document_id":"x","enrichments":{"x":[', unit => '0,', end => '1]}}' },
	'with enrichments that are just not too large' => { bytes => $mb, start => '{"document_id":"x","enrichments":{"x":"', end => '"}}' });
# In MB; the address sanitizer keeps what was freed.
my $some = defined $ENV{ASAN_OPTIONS} ? 256 : 128;
my $n = 0;
foreach my $name (sort keys %large)
{
	my $table = 'large' . ++$n;
	table_on($table, max_connections => '16');
	$apis{$table}->faults({ kind => 'huge', method => 'POST', %{ $large{$name} } });
	sql("INSERT INTO $table VALUES ('first')");
	wait_for_states($table, $name =~ /just/ ? 'mirrored' : 'failed');
	my $before = memory($worker, 'RssAnon');
	forget_peak($worker);
	sql("INSERT INTO $table SELECT n FROM generate_series(1, 48) n");
	wait_for('the first answers', sub { $apis{$table}->stats->{fault_kinds}{huge} > 1 });
	my $start = time();
	sql("UPDATE bystander SET v = '$table' WHERE id = 'warm'; INSERT INTO bystander VALUES ('$table')");
	wait_for('the bystander', sub { document('bystander', $table)->{state} // '' eq 'mirrored' });
	my $waited = time() - $start;
	wait_for_states($table, $name =~ /just/ ? 'mirrored' : 'failed');
	my $grown = memory($worker, 'VmHWM') - $before;
	note(sprintf('%s: +%.0f MB, another waited %.2f s', $name, $grown, $waited));
	cmp_ok($grown, '<', $some, "large answers $name: the worker grows by less than $some MB");
	cmp_ok($waited, '<', 10, "large answers $name: a row of another server waits less than 10 s");
	is(worker_pid(), $worker, "large answers $name: the worker is not replaced");
	finish($table);
}

# 31: a look-up's list of a hundred documents that were asked for, each with much to keep

table_on('list', api => { enrich => 'never' });
$apis{list}->faults({ kind => 'status_after', status => 500, method => 'POST', path => '/collections/list/documents' });
sql('INSERT INTO list SELECT n FROM generate_series(1, 100) n');
wait_for_states('list', 'failed');
my $much = 'y' x 120_000;
my $answer = '{"results":[' . join(',', map { qq({"document_id":"d$_","metadata":{"mixpeek_docs":"$origin:public.list:$_"},"enrichments":{"a":"$much"}}) } 1 .. 100) . ']}';
$apis{list}->faults({ kind => 'status', status => 200, method => 'POST', path => '/documents/list', answer => $answer }, { kind => 'status', status => 200, answer => '{"document_id":"new"}' });
undef $answer;
my $before = memory($worker, 'RssAnon');
forget_peak($worker);
sql(q{SELECT mixpeek.retry('list')});
wait_for('all to be found', sub { sql(q{SELECT count(*) FROM mixpeek.documents WHERE document_id = 'd' || key AND octet_length(enrichments::text) > 120000}) eq '100' });
cmp_ok(memory($worker, 'VmHWM') - $before, '<', $some, "a list of a hundred large documents: the worker grows by less than $some MB");
is(sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'list'::regclass AND state = 'mirrored' AND last_error IS NULL}), '100', 'a list of a hundred large documents: all are mirrored');
finish('list');

# In another encoding: what is shown, what is kept, and what is ours

$node->safe_psql('postgres', "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('latin', 'CREATE EXTENSION mixpeek_docs');
my $latin = MixpeekTest::Server->new(api_key => $key);
create_server($node, 'latin', $latin, api_key => $key, database => 'latin');
$node->safe_psql('latin', qq{SET client_encoding = 'UTF8'; CREATE TABLE latin (id text PRIMARY KEY);
	SELECT mixpeek.mirror('latin', 'latin', '{"metadata": {"id": "\$id"}, "caf\xc3\xa9": "\$id"}', server => 'latin', backfill => false)});
$latin->faults({ kind => 'status', status => 200, method => 'POST', body => '"kept"', answer => qq({"document_id":"k\\u00e9y","caf\\u00e9":"sent","caf\x{e9}":"sent","th\x{e9}":"\\u00e9\x{e9}"}) },
	{ kind => 'status', status => 400, method => 'POST', body => '"refused"', answer => qq({"error":{"message":"\x{e9}\x{9b}31m\\u0085\\u009b end $json_key"}}) });
$node->safe_psql('latin', q{INSERT INTO latin VALUES ('kept'), ('refused')});
is($node->safe_psql('latin', q{SELECT mixpeek.wait('60 s')}), 't', 'LATIN1 database: wait() returns true');
sub latin { return $node->safe_psql('latin', "SET client_encoding = 'UTF8'; SELECT $_[0] FROM mixpeek.documents WHERE key = '$_[1]'"); }
is(latin('document_id || enrichments::text', 'kept'), qq(k\xc3\xa9y{"th\xc3\xa9": "\xc3\xa9\xc3\xa9"}), 'LATIN1 database: fields that were sent are no enrichments, others are');
is(latin('last_error', 'refused'), "Mixpeek API refused the request: 400: \xc3\xa931m end " . '*' x length($json_key), 'LATIN1 database: errors are cleaned');
$latin->stop;

# 31: ... that take the room and do not come to an end

$apis{bystander}->faults({ kind => 'huge', method => 'POST', bytes => 6 * $mb, start => '{"document_id":"x","metadata":"' });
table_on('hog', max_connections => '30', request_timeout => '3600');
$apis{hog}->faults({ kind => 'huge', method => 'POST', bytes => 30 * $mb, chunked => JSON::PP::true, stall => 20 * $mb, ms => 3_000_000 });
sql('INSERT INTO hog SELECT n FROM generate_series(1, 30) n');
wait_for('them to come', sub { ($apis{hog}->stats->{fault_kinds}{huge} // 0) >= 4 });
my $start = time();
$offset = -s $node->logfile;
sql("INSERT INTO bystander VALUES ('behind')");
wait_for('another large answer', sub { (document('bystander', 'behind')->{state} // '') eq 'mirrored' });
note(sprintf('an answer of 6 MB waited %.2f s', time() - $start));
cmp_ok(time() - $start, '<', 30, 'large answers that do not end: another large answer is read within 30 s');
is(log_lines(qr/is not usable/, $offset), 0, 'large answers that do not end: no server counts as down');
sql('DROP TABLE hog');
$apis{hog}->stop;
wait_for('its requests to end', sub { sql(q{SELECT count(*) FROM mixpeek.documents WHERE key = 'behind' AND document_id = 'x'}) eq '1' });
finish('bystander');

# D17: no descriptor for a connection

table_on('descriptors', api => { enrich => 'now' });
sub limit_descriptors { my ($n) = @_; system_or_bail('prlimit', '--pid', $worker, "--nofile=$n:"); return; }
my ($old_limit) = slurp_file("/proc/$worker/limits") =~ /^Max open files\s+(\d+)/m;
sql("INSERT INTO descriptors VALUES ('warm')");    # PostgreSQL has the files open that it needs
wait_for_states('descriptors', 'mirrored');
$apis{descriptors}->stop;                          # and there is no connection left
$apis{descriptors}->start;
$offset = -s $node->logfile;
limit_descriptors(10);
sql("INSERT INTO descriptors SELECT n FROM generate_series(1, 20) n");
wait_for('all to wait', sub {
	sql(q{SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored'
		AND last_error = 'there was no file descriptor for a connection to the Mixpeek API: Too many open files'}) eq '20';
});
pass('no file descriptor for a connection: last_error says so');
limit_descriptors($old_limit);
wait_for_states('descriptors', 'mirrored');
is(log_lines(qr/is not usable/, $offset), 0, 'no file descriptor for a connection: no server counts as down');
is(sql('SELECT max(attempts) FROM mixpeek.documents'), '0', 'no file descriptor for a connection: no attempt is counted');
is_deeply([ @{ $apis{descriptors}->stats }{qw(creates duplicates)} ], [ 20, 0 ], 'no file descriptor for a connection: all rows are mirrored in the end, once');
finish('descriptors');
is(worker_pid(), $first_worker, 'no file descriptor for a connection: the worker is not replaced');

# 25: a server that hangs, and has as many connections as it likes

$node->append_conf('postgresql.conf', 'max_files_per_process = 150');
$node->restart;
table_on('hanging', max_connections => '1000', request_timeout => '3600');
table_on('lively', api => { enrich => 'now' });
sql("INSERT INTO hanging VALUES ('first')");
wait_for_states('hanging', 'mirrored');
$offset = -s $node->logfile;
$worker = worker_pid();
$apis{hanging}->faults({ kind => 'hang' });
sql('INSERT INTO hanging SELECT n FROM generate_series(1, 300) n');
wait_for('them to hang', sub { $apis{hanging}->stats->{in_flight} >= 20 });
sql('INSERT INTO lively SELECT n FROM generate_series(1, 100) n');
wait_for_states('lively', 'mirrored');
cmp_ok($apis{hanging}->stats->{in_flight}, '<=', 50, '1,000 connections to a server that hangs: it gets some of the file descriptors only');
is($apis{lively}->stats->{documents}, 100, '1,000 connections to a server that hangs: another server is served');
is(log_lines(qr/out of file descriptors|Too many open files|lively" is not usable/, $offset), 0, '1,000 connections to a server that hangs: the log does not complain');
is(worker_pid(), $worker, '1,000 connections to a server that hangs: the worker is not replaced');
sql('DROP TABLE hanging, lively');
is($node->safe_psql('postgres', 'SELECT 1'), '1', '1,000 connections to a server that hangs: the cluster is alive');
$node->stop;
$_->stop foreach values %apis;
done_testing();
