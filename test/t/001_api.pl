# The API as SQL functions, against the local Mixpeek server: every operation of both contracts, and
# every way in which a request can go wrong.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;

my $key = 'sk_a_key_that_nobody_may_see';

# Everything is logged but the statements, since those that set the key contain it.
my $node = mixpeek_node('main', qq{
log_min_messages = debug5
log_statement = none
log_min_duration_statement = -1
});
$node->safe_psql('postgres', q{
	CREATE FUNCTION try(statement text) RETURNS jsonb LANGUAGE plpgsql AS $$
	DECLARE
		message text; detail text; hint text; answer text;
	BEGIN
		EXECUTE statement INTO answer;
		RETURN jsonb_build_object('sqlstate', '00000', 'answer', answer);
	EXCEPTION WHEN OTHERS OR query_canceled THEN
		GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
		RETURN jsonb_build_object('sqlstate', sqlstate, 'message', message, 'detail', detail, 'hint', hint);
	END $$;
});

# The first column of a statement's rows.
sub sql
{
	my ($statement, $database) = @_;
	return $node->safe_psql($database // 'postgres', $statement);
}

# The result of try() for a statement: sqlstate, and message, detail, hint or answer.
sub try
{
	my ($statement, $settings) = @_;
	my $out = sql(($settings // '') . " SELECT try(\$try\$$statement\$try\$)");
	return JSON::PP->new->allow_nonref->decode($out);
}

# The operations

foreach my $version ('2025-09', '2026-02')
{
	subtest "contract of $version" => sub { use_contract($version) };
}

sub use_contract
{
	my ($version) = @_;
	my $api = MixpeekTest::Server->new(contract => $version, api_key => $key, namespace => 'test', record => 1,
		enrich => 'now');
	my $server = "api_$version";
	my $collection = 'a collection/ü?#%2F';

	create_server($node, $server, $api);
	my $id = sql(qq{
		SELECT mixpeek.create_document('$collection', metadata => '{"name": "Ünï \\"x\\""}',
			extra => '{"lineage_path": "a/b"}',
			server => '$server') ->> 'document_id'});
	like($id, qr/^\S+$/, 'create_document() returns the document');
	my ($request) = @{ $api->requests };
	is($request->{authorization}, "Bearer $key", 'create_document() sends the key');
	is($request->{namespace}, 'test', 'create_document() sends the namespace');
	is($request->{content_type}, 'application/json', 'create_document() sends the content type');
	is_deeply(
		decode_json($request->{body} =~ s/([^\x00-\x7f])/utf8::is_utf8($1) ? sprintf("\\u%04x", ord $1) : $1/ger),
		{
			collection_id => 'a collection/ü?#%2F' =~ s/\xc3\xbc/\x{fc}/r,
			source_details => [],
			metadata => { name => "\x{dc}n\x{ef} \"x\"" },
			lineage_path => 'a/b'
		},
		'create_document(): the body has the arguments and no others');

	my $where = "'$collection', '$id', server => '$server'";
	is(sql("SELECT mixpeek.get_document($where) ->> 'document_id'"), $id, 'get_document() returns the document');
	is($api->requests->[-1]{query} // '', '', 'get_document() sends no parameters by default');
	sql("SELECT mixpeek.get_document('$collection', '$id', true, true, '$server')");
	is($api->requests->[-1]{query}, 'return_url=true&return_presigned_urls=true&return_vectors=true',
		'get_document() sends the parameters that were asked for');
	is(sql(qq{SELECT mixpeek.update_document('$collection', '$id', '{"metadata": {"name": "new"}, "title": "t"}',
		server => '$server') ->> 'title'}),
		't', 'update_document() returns the document');
	is(sql("SELECT mixpeek.get_document($where)::text ~ '\"new\"'"), 't', 'update_document() has changed the document');
	is(sql("SELECT mixpeek.delete_document($where) ->> 'success'"), 'true', 'delete_document() reports success');
	is(try("SELECT mixpeek.get_document($where)")->{sqlstate}, 'P0002',
		'get_document() of a deleted document fails with P0002');

	list_pages($api, $server, $version);
	is($api->stats->{documents}, 250, 'the listed documents are the only ones left');
	$api->stop;
}

sub list_pages
{
	my ($api, $server, $version) = @_;
	my $list = "mixpeek.list_documents('c', server => '$server'";

	sql(qq{SELECT count(mixpeek.create_document('c', metadata => jsonb_build_object('n', n, 'even', n % 2 = 0),
		server => '$server'))
		FROM generate_series(1, 250) n});
	my $lists = sub {
		my $before = $api->stats->{lists};
		my $result = sql($_[0]);
		return $result . ' in ' . ($api->stats->{lists} - $before);
	};

	is(sql("SELECT count(*), count(DISTINCT d ->> 'document_id') FROM $list) d"), '250|250',
		'list_documents() returns each document once');
	like($lists->("SELECT count(*) FROM $list, max_documents => 120) d"), qr/^120 in 2$/,
		'max_documents => 120 returns 120 documents in 2 requests');
	is($api->requests->[-1]{query} =~ /limit=20\b/, 1,
		'max_documents: the last page is requested with the remaining limit');
	like($lists->("SELECT count(*) FROM (SELECT $list) LIMIT 5) x"), qr/^5 in 1$/,
		'LIMIT 5 ends the paging after 1 request');
	like($lists->("SELECT count(*) FROM $list, max_documents => 100) d"), qr/^100 in 1$/,
		'a full last page is not followed by another request');
	is(sql(qq{SELECT count(*) FROM $list, filters => '{"AND": [{"field": "metadata.even", "value": true}]}') d}), 125,
		'list_documents() with filters');
	is(sql(qq{SELECT string_agg(d #>> '{metadata,n}', ',')
		FROM $list, sort => '{"field": "metadata.n", "direction": "desc"}', max_documents => 3) d})
		|| sql(qq{SELECT string_agg(d ->> 'n', ',')
			FROM $list, sort => '{"field": "metadata.n", "direction": "desc"}', max_documents => 3) d}),
		'250,249,248', 'list_documents() with sort');
	is(sql("SELECT count(*) FROM mixpeek.list_documents('empty', server => '$server') d"), 0,
		'list_documents() of a collection without documents is empty');
	return;
}

# The errors of the API

my $api = MixpeekTest::Server->new(api_key => $key, record => 1);
create_server($node, 'mixpeek', $api, request_timeout => '1');
my $create = "SELECT mixpeek.create_document('c')";
my $get = "SELECT mixpeek.get_document('c', 'd')";
my $list = "SELECT count(*) FROM mixpeek.list_documents('c')";

# Tries a statement while the server has faults.
sub try_fault
{
	my ($statement, @faults) = @_;

	$api->faults(@faults);
	my $result = try($statement);
	$api->faults();
	return $result;
}

my %sqlstates = (
	302 => '08P01', 400 => '22023', 401 => '28000', 402 => 'HV000', 403 => '42501', 404 => 'P0002', 408 => '08006',
	409 => '23505', 413 => '54000', 418 => 'HV000', 422 => '22023', 429 => '53400', 500 => '58000', 503 => '58000');
foreach my $status (sort keys %sqlstates)
{
	my $error = try_fault($get, { kind => 'status', status => $status + 0 });
	is($error->{sqlstate}, $sqlstates{$status}, "status $status: SQLSTATE");
	like($error->{message}, qr/^Mixpeek API .*: $status/, "status $status: the message has it");
}
my $error = try($get);
is_deeply([ @$error{qw(sqlstate message)} ], [ 'P0002', 'Mixpeek API refused the request: 404 NotFoundError' ],
	'404 of the API: SQLSTATE and message');
isnt($error->{detail}, '', '404 of the API: its message is the detail');

sub answer
{
	my ($status, $answer, $headers) = @_;
	return { kind => 'status', status => $status, answer => $answer, headers => $headers // {} };
}

is(try_fault($get, answer(422, { detail => [
		{ loc => [ 'body', 'source_details', 0, 'type' ], msg => 'no such type', type => 'enum' },
		{ loc => [ 'body', 'x' ], msg => 'field required', type => 'missing' } ] }))->{detail},
	"body.source_details.0.type: no such type\nbody.x: field required",
		'a 422 with a detail array: the detail has each field');
is(try_fault($get, answer(422, { success => JSON::PP::false, status => 422,
	error => { type => 'ValidationError', message => 'wrong',
		details => { validation_errors => [ { type => 'enum', location => [ 'body', 'type' ],
			message => 'no such type' } ] } } }))->{detail},
	"wrong\nbody.type: no such type", 'a 422 with validation_errors: the detail has each field');
is(try_fault($get, answer(422, { detail => [ map { { loc => [$_], msg => 'x' } } 1 .. 50 ] }))->{detail} =~ tr/\n//, 10,
	'a 422 with 50 fields: the detail is cut');
is(try_fault($get, answer(502, "<html>\r\n<h1>502 Bad\tGateway</h1>" . 'x' x 1000))->{detail},
	substr('<html>  <h1>502 Bad Gateway</h1>' . 'x' x 1000, 0, 200) . '...',
	'an answer of HTML is shown cut and on one line');
like(try_fault($get, answer(500, { error => { type => "T\n" . 'y' x 1000, message => 'z' x 5000 } }))->{message},
	qr/^Mixpeek API failed: 500 T y{62}\.\.\.$/, 'the type of an error is shown cut and on one line');
is(try_fault($get, answer(429, {}, { 'Retry-After' => '7' }))->{hint}, 'Wait 7 s before the next request.',
	'hint of a 429: Retry-After in seconds');
my @date = gmtime(time() + 100);
my $date = sprintf('%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $date[6] ], $date[3],
	(qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $date[4] ], $date[5] + 1900, @date[ 2, 1, 0 ]);
like(try_fault($get, answer(429, {}, { 'Retry-After' => $date }))->{hint}, qr/^Wait (9\d|100) s /,
	'hint of a 429: Retry-After as a date');
like(try_fault($get, answer(429, {}, { 'X-RateLimit-Reset' => int(time() + 100) }))->{hint}, qr/^Wait (9\d|100) s /,
	'hint of a 429: X-RateLimit-Reset');
like(try_fault($get, answer(429, {}, { 'Retry-After' => 'soon' }))->{hint}, qr/requests_per_minute/,
	'hint of a 429: Retry-After that cannot be read');

# Answers that cannot be used

my $broken = sub { my ($name, $statement, $fault, $sqlstate, $message) = @_;
	my $result = try_fault($statement, $fault);
	is($result->{sqlstate}, $sqlstate, "$name: SQLSTATE");
	like($result->{message}, $message, "$name: message");
};
$broken->('an answer that is not JSON', $create, { kind => 'malformed' }, '08P01', qr/not valid JSON/);
$broken->('an answer that is an array', $create, { kind => 'wrong_type' }, '08P01', qr/unexpected answer/);
$broken->('an answer whose document_id is a number', $get, answer(200, { document_id => 7 }), '08P01',
	qr/unexpected answer/);
$broken->('an empty answer', $get, answer(200, ''), '08P01', qr/not valid JSON/);
$broken->('an answer with a NUL character', $get, answer(200, '{"document_id": "\u0000"}'), '08P01',
	qr/not valid JSON/);
$broken->('an answer nested 100,000 levels deep', $get, answer(200, '[' x 100000), '08P01', qr/not valid JSON/);
$broken->('a list answer without results', $list, answer(200, { pagination => {} }), '08P01', qr/unexpected answer/);
$broken->('a list answer with strings as results', $list, answer(200, { results => ['x'], pagination => {} }),
	'08P01', qr/unexpected answer/);
$broken->('a list answer with a NUL character in a document', "SELECT max(d::text) FROM mixpeek.list_documents('c') d",
	answer(200, '{"results": [{"document_id": "a"}, {"document_id": "\u0000"}]}'), '08P01', qr/not valid JSON/);
$broken->('a list answer with a NUL character in its pagination', $list,
	answer(200, '{"results": [], "pagination": {"next_cursor": "\u0000"}}'), '08P01', qr/not valid JSON/);
$broken->('a list answer whose cursor repeats', $list,
	answer(200, { results => [ { document_id => 'x' } ], pagination => { next_cursor => 'again' } }), '08P01',
	qr/cursor twice/);
$broken->('a redirect', $create, { kind => 'redirect' }, '08P01', qr/redirect/);
$broken->('an answer that is cut off', $create, { kind => 'cut' }, '08006', qr/lost the connection/);
$broken->('a connection reset before the work', $create, { kind => 'reset_before' }, '08006', qr/lost the connection/);
$broken->('a connection reset after the work', $create, { kind => 'reset_after' }, '08006', qr/lost the connection/);
$broken->('no answer in time', $create, { kind => 'hang' }, '08006', qr/did not answer in time/);
$broken->('an answer that comes byte by byte', $create, { kind => 'drip', ms => 200 }, '08006',
	qr/did not answer in time/);
sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '60')");
$broken->('an answer of 65 MB', $get, { kind => 'huge', bytes => 65 * 1024 * 1024 }, '54000', qr/too large/);
is(try_fault($list, answer(200, { results => undef, pagination => {} }))->{answer}, '0',
	'a list answer whose results are null is empty');

# base_url with the /v1 that the API's documentation has in its URLs
foreach my $path ('/v1', '/v1/', '//v1//', '/')
{
	sql("ALTER SERVER mixpeek OPTIONS (SET base_url '" . $api->url . "$path')");
	is(try($create)->{sqlstate}, '00000', "base_url that ends with $path: a request succeeds");
	is($api->requests->[-1]{path}, '/v1/collections/c/documents',
		"base_url that ends with $path: the request has the usual path");
}
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER mixpeek OPTIONS (ADD base_url '" . $api->url . "/v1')");
is(try($create)->{sqlstate}, '00000', "a mapping's base_url with /v1 is the same as a server's without");
sql("ALTER SERVER mixpeek OPTIONS (SET base_url '" . $api->url . "/v1/v1')");
is(try($create)->{sqlstate}, '42501', "a mapping's base_url with /v1 is not the same as a server's with another path");
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER mixpeek OPTIONS (DROP base_url);
	ALTER SERVER mixpeek OPTIONS (SET base_url '" . $api->url . "')");

# A server that makes smaller pages than it was asked for
is(try_fault($list,
		{ %{ answer(200, { results => [ map { { document_id => "d$_" } } 1 .. 10 ],
			pagination => { page_size => 10 } }) }, count => 2 },
		answer(200, { results => [ { document_id => 'last' } ], pagination => { page_size => 10 } }))->{answer},
	'21', 'pages smaller than asked for are followed by others');

# At most one POST a call, on a connection that is kept alive, where libcurl would try again.
# psql's one session makes all three requests.
foreach my $kind ('reset_before', 'reset_after')
{
	$api->reset(documents => JSON::PP::true, faults => JSON::PP::true);
	$api->faults({ kind => $kind, method => 'POST', after => 1 });
	my $try = "SELECT try(\$\$$create\$\$) ->> 'sqlstate'";
	is(sql("$try; $try"), "00000\n08006", "$kind on a kept-alive connection: the second create fails");
	my @posts = grep { $_->{method} eq 'POST' } @{ $api->requests };
	is(scalar(@posts), 2, "$kind on a kept-alive connection: a create is one request on the wire");
	is($api->stats->{duplicates} + $api->stats->{documents}, $kind eq 'reset_after' ? 2 : 1,
		"$kind on a kept-alive connection: no further document is created");

	$api->reset(faults => JSON::PP::true);
	my $id = sql("$create ->> 'document_id'");
	$api->faults({ kind => $kind, method => 'GET', after => 1, count => 1 });
	is(sql("SELECT mixpeek.get_document('c', '$id') ->> 'document_id'; SELECT mixpeek.get_document('c',
		'$id') ->> 'document_id'"),
		"$id\n$id", "$kind on a kept-alive connection: a GET is sent again");
	$api->faults();
}
$api->reset(documents => JSON::PP::true);
sql(join(';', ($create) x 50));
cmp_ok($api->stats->{creates}, '==', 50, 'fifty creates in a session are fifty creates at the API');
cmp_ok($api->stats->{connections}, '<=', 5, 'fifty creates in a session share a connection');

# A server that goes away and comes back
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query("$create \\g /dev/null");
$api->stop;
like(try($create)->{detail}, qr/refused/, 'a server that is down: the detail says refused');
$api->start;
like($session->query("$create ->> 'document_id'"), qr/^\S+$/,
	'a kept connection that the server has closed is not used');

# Cancelling

my $pid = $session->query('SELECT pg_backend_pid()');
my $descriptors = sub { return scalar(my @files = glob("/proc/$pid/fd/*")) };

$api->faults({ kind => 'hang' });

# Makes the session wait for an answer that does not come.
sub send_create
{
	$session->query_until(qr/under_way/, "\\echo under_way\n$create;\n");
	wait_for('the request to be under way', sub { $api->stats->{in_flight} == 1 });
	return;
}

sub wait_until_idle
{
	wait_for('the session to be free', sub {
		sql("SELECT 1 FROM pg_stat_activity WHERE pid = $pid AND state = 'idle'");
	});
	return;
}

my $cancel = sub {
	send_create();
	my $start = time();
	sql("SELECT pg_cancel_backend($pid)");
	wait_until_idle();
	my $elapsed = time() - $start;
	wait_for('the server to notice', sub { $api->stats->{in_flight} == 0 });
	return $elapsed;
};
send_create();
ok(wait_for('the session to wait', sub {
	sql("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid") eq 'Extension';
}),
	'a session that waits for the API shows the wait event type Extension');
is(sql("SELECT count(*) FROM pg_stat_activity a WHERE pid = $pid AND a::text ~ '$key'"), '0',
	'pg_stat_activity of a session that waits for the API does not have the key');
sql("SELECT pg_cancel_backend($pid)");
wait_until_idle();
wait_for('the server to notice', sub { $api->stats->{in_flight} == 0 });
my $before = $descriptors->();
my ($fastest) = sort { $a <=> $b } map { $cancel->() } 1 .. 10;
cmp_ok($fastest, '<', 0.5, 'pg_cancel_backend() ends a request within 0.5 s');
is($descriptors->(), $before, 'cancelled requests leave no file descriptor behind');
$api->faults();
like($session->query("$create ->> 'document_id'"), qr/^\S+$/, 'a session sends requests after a cancelled one');
$session->quit;
$api->faults({ kind => 'hang' });
my $start = time();
is(try($create, "SET statement_timeout = '300ms';")->{sqlstate}, '57014', 'statement_timeout ends a request');
cmp_ok(time() - $start, '<', 5, 'statement_timeout ends a request long before request_timeout');
$api->faults();

# TLS

my $certificates = make_certificates(good => 'IP:127.0.0.1', other => 'DNS:other.example');
foreach my $name ('good', 'other')
{
	my $tls = MixpeekTest::Server->new(api_key => $key, record => 1,
		tls_cert => $certificates->{$name}{cert}, tls_key => $certificates->{$name}{key});
	create_server($node, "tls_$name", $tls, ca_file => $certificates->{ca});
	create_server($node, "unknown_$name", $tls);
	my $result = try("SELECT mixpeek.create_document('c', server => 'tls_$name')");
	is($result->{sqlstate}, $name eq 'good' ? '00000' : '08004', "certificate for the $name host: SQLSTATE");
	$result = try("SELECT mixpeek.create_document('c', server => 'unknown_$name')");
	is($result->{sqlstate}, '08004', "certificate for the $name host, of an unknown authority: SQLSTATE");
	isnt($result->{detail}, '', "certificate for the $name host, of an unknown authority: the error has a detail");
	is($tls->stats->{requests}, $name eq 'good' ? 1 : 0,
		"certificate for the $name host: nothing is sent without a valid certificate");
	$tls->stop;
}

# Other encodings

sql("CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
sql('CREATE EXTENSION mixpeek_docs', 'latin1');
create_server($node, 'mixpeek', $api, database => 'latin1');
$api->reset(documents => JSON::PP::true);
my $id = sql(q{SELECT mixpeek.create_document(U&'c\00fc', metadata => jsonb_build_object('name',
	U&'\00dc')) ->> 'document_id'}, 'latin1');
is($api->documents('c%C3%BC')->[0]{metadata}{name}, "\x{dc}", 'a LATIN1 database sends UTF-8');
is(sql(qq{SELECT ascii(mixpeek.get_document(U&'c\\00fc', '$id') #>> '{metadata,name}')}, 'latin1'), 0xdc,
	'a LATIN1 database reads UTF-8');
sql(qq{SELECT mixpeek.update_document(U&'c\\00fc', '$id', '{"metadata": {"name": "\\ud83d\\ude00"}}')});
is(sql(qq{SELECT ascii(mixpeek.get_document(U&'c\\00fc', '$id') #>> '{metadata,name}')}), 0x1f600,
	'a UTF8 database reads a character that LATIN1 lacks');
my ($rc, $out, $err) = $node->psql('latin1',
	"\\set VERBOSITY sqlstate\nSELECT mixpeek.get_document(U&'c\\00fc', '$id')");
like($err, qr/ERROR:\s+08P01/, 'a LATIN1 database fails to read a character that LATIN1 lacks');

# The key

sql('CREATE SERVER bare FOREIGN DATA WRAPPER mixpeek_docs');
($rc, $out, $err) = $node->psql('postgres', qq{
	CREATE SERVER leaky FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (api_key '$key');
	CREATE USER MAPPING FOR CURRENT_USER SERVER bare OPTIONS (api_key '$key x');
	CREATE USER MAPPING FOR CURRENT_USER SERVER bare OPTIONS (api_key '$key', oops 'x');
	CREATE USER MAPPING FOR CURRENT_USER SERVER bare OPTIONS (apikey '$key')}, on_error_stop => 0);
is(scalar(() = $err =~ /ERROR:/g), 4, 'CREATE SERVER and CREATE USER MAPPING with wrong options are errors');
unlike($err, qr/$key/, 'errors of wrong options do not show the key');
$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/DEBUG: /, 'the log has debug messages');
ok(index($log, $key) < 0, 'the log does not have the key');

done_testing();
