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

# All that can be logged is, except for the statements, which have the key when it is set.
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

# What try() says of a statement: sqlstate, and message, detail, hint or answer.
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
	my $api = MixpeekTest::Server->new(contract => $version, api_key => $key, namespace => 'test', record => 1, enrich => 'now');
	my $server = "api_$version";
	my $collection = 'a collection/ü?#%2F';

	create_server($node, $server, $api);
	my $id = sql(qq{
		SELECT mixpeek.create_document('$collection', metadata => '{"name": "Ünï \\"x\\""}', extra => '{"lineage_path": "a/b"}',
			server => '$server') ->> 'document_id'});
	like($id, qr/^\S+$/, 'create returns the document');
	my ($request) = @{ $api->requests };
	is($request->{authorization}, "Bearer $key", 'the key is sent');
	is($request->{namespace}, 'test', 'the namespace is sent');
	is($request->{content_type}, 'application/json', 'the content type is sent');
	is_deeply(
		decode_json($request->{body} =~ s/([^\x00-\x7f])/utf8::is_utf8($1) ? sprintf("\\u%04x", ord $1) : $1/ger),
		{
			collection_id => 'a collection/ü?#%2F' =~ s/\xc3\xbc/\x{fc}/r,
			source_details => [],
			metadata => { name => "\x{dc}n\x{ef} \"x\"" },
			lineage_path => 'a/b'
		},
		'the body has the arguments and no others');

	my $where = "'$collection', '$id', server => '$server'";
	is(sql("SELECT mixpeek.get_document($where) ->> 'document_id'"), $id, 'get');
	is($api->requests->[-1]{query} // '', '', '... asks for nothing else');
	sql("SELECT mixpeek.get_document('$collection', '$id', true, true, '$server')");
	is($api->requests->[-1]{query}, 'return_url=true&return_presigned_urls=true&return_vectors=true',
		'... but for what it is told to');
	is(sql(qq{SELECT mixpeek.update_document('$collection', '$id', '{"metadata": {"name": "new"}, "title": "t"}', server => '$server') ->> 'title'}),
		't', 'update returns the document');
	is(sql("SELECT mixpeek.get_document($where)::text ~ '\"new\"'"), 't', '... and has changed it');
	is(sql("SELECT mixpeek.delete_document($where) ->> 'success'"), 'true', 'delete');
	is(try("SELECT mixpeek.get_document($where)")->{sqlstate}, 'P0002', '... and it is gone');

	list_pages($api, $server, $version);
	is($api->stats->{documents}, 250, 'all that is left are the listed documents');
	$api->stop;
}

sub list_pages
{
	my ($api, $server, $version) = @_;
	my $list = "mixpeek.list_documents('c', server => '$server'";

	sql(qq{SELECT count(mixpeek.create_document('c', metadata => jsonb_build_object('n', n, 'even', n % 2 = 0), server => '$server'))
		FROM generate_series(1, 250) n});
	my $lists = sub { my $before = $api->stats->{lists}; my $result = sql($_[0]); return $result . ' in ' . ($api->stats->{lists} - $before) };

	is(sql("SELECT count(*), count(DISTINCT d ->> 'document_id') FROM $list) d"), '250|250', 'list returns each document once');
	like($lists->("SELECT count(*) FROM $list, max_documents => 120) d"), qr/^120 in 2$/, 'max_documents bounds it');
	is($api->requests->[-1]{query} =~ /limit=20\b/, 1, '... and the last page');
	like($lists->("SELECT count(*) FROM (SELECT $list) LIMIT 5) x"), qr/^5 in 1$/, 'a LIMIT ends the paging');
	like($lists->("SELECT count(*) FROM $list, max_documents => 100) d"), qr/^100 in 1$/, 'a full last page is not followed by another');
	is(sql(qq{SELECT count(*) FROM $list, filters => '{"AND": [{"field": "metadata.even", "value": true}]}') d}), 125, 'filters');
	is(sql(qq{SELECT string_agg(d #>> '{metadata,n}', ',') FROM $list, sort => '{"field": "metadata.n", "direction": "desc"}', max_documents => 3) d})
		|| sql(qq{SELECT string_agg(d ->> 'n', ',') FROM $list, sort => '{"field": "metadata.n", "direction": "desc"}', max_documents => 3) d}),
		'250,249,248', 'sort');
	is(sql("SELECT count(*) FROM mixpeek.list_documents('empty', server => '$server') d"), 0, 'a collection without documents');
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
	is($error->{sqlstate}, $sqlstates{$status}, "status $status");
	like($error->{message}, qr/^Mixpeek API .*: $status/, '... is said');
}
my $error = try($get);
is_deeply([ @$error{qw(sqlstate message)} ], [ 'P0002', 'Mixpeek API refused the request: 404 NotFoundError' ], "the API's own error");
isnt($error->{detail}, '', '... has its message in the detail');

sub answer
{
	my ($status, $answer, $headers) = @_;
	return { kind => 'status', status => $status, answer => $answer, headers => $headers // {} };
}

is(try_fault($get, answer(422, { detail => [
		{ loc => [ 'body', 'source_details', 0, 'type' ], msg => 'no such type', type => 'enum' },
		{ loc => [ 'body', 'x' ], msg => 'field required', type => 'missing' } ] }))->{detail},
	"body.source_details.0.type: no such type\nbody.x: field required", 'a 422 of the one form');
is(try_fault($get, answer(422, { success => JSON::PP::false, status => 422, error => { type => 'ValidationError', message => 'wrong',
		details => { validation_errors => [ { type => 'enum', location => [ 'body', 'type' ], message => 'no such type' } ] } } }))->{detail},
	"wrong\nbody.type: no such type", 'a 422 of the other form');
is(try_fault($get, answer(422, { detail => [ map { { loc => [$_], msg => 'x' } } 1 .. 50 ] }))->{detail} =~ tr/\n//, 10,
	'... with very many fields');
is(try_fault($get, answer(502, "<html>\r\n<h1>502 Bad\tGateway</h1>" . 'x' x 1000))->{detail},
	substr('<html>  <h1>502 Bad Gateway</h1>' . 'x' x 1000, 0, 200) . '...', 'an answer of HTML is cut and on one line');
like(try_fault($get, answer(500, { error => { type => "T\n" . 'y' x 1000, message => 'z' x 5000 } }))->{message},
	qr/^Mixpeek API failed: 500 T y{62}\.\.\.$/, "the error's type is cut and on one line");
is(try_fault($get, answer(429, {}, { 'Retry-After' => '7' }))->{hint}, 'Wait 7 s before the next request.', 'Retry-After in seconds');
my @date = gmtime(time() + 100);
my $date = sprintf('%s, %02d %s %d %02d:%02d:%02d GMT', (qw(Sun Mon Tue Wed Thu Fri Sat))[ $date[6] ], $date[3],
	(qw(Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec))[ $date[4] ], $date[5] + 1900, @date[ 2, 1, 0 ]);
like(try_fault($get, answer(429, {}, { 'Retry-After' => $date }))->{hint}, qr/^Wait (9\d|100) s /, 'Retry-After as a date');
like(try_fault($get, answer(429, {}, { 'X-RateLimit-Reset' => int(time() + 100) }))->{hint}, qr/^Wait (9\d|100) s /, 'X-RateLimit-Reset');
like(try_fault($get, answer(429, {}, { 'Retry-After' => 'soon' }))->{hint}, qr/requests_per_minute/, 'an unreadable Retry-After');

# Answers that are none

my $broken = sub { my ($name, $statement, $fault, $sqlstate, $message) = @_;
	my $result = try_fault($statement, $fault);
	is($result->{sqlstate}, $sqlstate, $name);
	like($result->{message}, $message, '... is said');
};
$broken->('no JSON', $create, { kind => 'malformed' }, '08P01', qr/not valid JSON/);
$broken->('an array', $create, { kind => 'wrong_type' }, '08P01', qr/unexpected answer/);
$broken->('no document', $get, answer(200, { document_id => 7 }), '08P01', qr/unexpected answer/);
$broken->('nothing', $get, answer(200, ''), '08P01', qr/not valid JSON/);
$broken->('a NUL character', $get, answer(200, '{"document_id": "\u0000"}'), '08P01', qr/not valid JSON/);
$broken->('deep nesting', $get, answer(200, '[' x 100000), '08P01', qr/not valid JSON/);
$broken->('a list without results', $list, answer(200, { pagination => {} }), '08P01', qr/unexpected answer/);
$broken->('a list of texts', $list, answer(200, { results => ['x'], pagination => {} }), '08P01', qr/unexpected answer/);
$broken->('a document of a list with a NUL character', "SELECT max(d::text) FROM mixpeek.list_documents('c') d",
	answer(200, '{"results": [{"document_id": "a"}, {"document_id": "\u0000"}]}'), '08P01', qr/not valid JSON/);
$broken->('a list whose pagination has a NUL character', $list,
	answer(200, '{"results": [], "pagination": {"next_cursor": "\u0000"}}'), '08P01', qr/not valid JSON/);
$broken->('a list that goes in circles', $list,
	answer(200, { results => [ { document_id => 'x' } ], pagination => { next_cursor => 'again' } }), '08P01', qr/cursor twice/);
$broken->('a redirect', $create, { kind => 'redirect' }, '08P01', qr/redirect/);
$broken->('half an answer', $create, { kind => 'cut' }, '08006', qr/lost the connection/);
$broken->('a reset before', $create, { kind => 'reset_before' }, '08006', qr/lost the connection/);
$broken->('a reset after', $create, { kind => 'reset_after' }, '08006', qr/lost the connection/);
$broken->('no answer', $create, { kind => 'hang' }, '08006', qr/did not answer in time/);
$broken->('an answer drop by drop', $create, { kind => 'drip', ms => 200 }, '08006', qr/did not answer in time/);
sql("ALTER SERVER mixpeek OPTIONS (SET request_timeout '60')");
$broken->('a huge answer', $get, { kind => 'huge', bytes => 65 * 1024 * 1024 }, '54000', qr/too large/);
is(try_fault($list, answer(200, { results => undef, pagination => {} }))->{answer}, '0', 'a list whose results are null is empty');

# base_url with the /v1 that the API's documentation has in its URLs
foreach my $path ('/v1', '/v1/', '//v1//', '/')
{
	sql("ALTER SERVER mixpeek OPTIONS (SET base_url '" . $api->url . "$path')");
	is(try($create)->{sqlstate}, '00000', "base_url that ends with $path");
	is($api->requests->[-1]{path}, '/v1/collections/c/documents', '... is the same API');
}
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER mixpeek OPTIONS (ADD base_url '" . $api->url . "/v1')");
is(try($create)->{sqlstate}, '00000', "a mapping's base_url with /v1 is the same as a server's without");
sql("ALTER SERVER mixpeek OPTIONS (SET base_url '" . $api->url . "/v1/v1')");
is(try($create)->{sqlstate}, '42501', '... but another path is not');
sql("ALTER USER MAPPING FOR CURRENT_USER SERVER mixpeek OPTIONS (DROP base_url);
	ALTER SERVER mixpeek OPTIONS (SET base_url '" . $api->url . "')");

# A server that makes smaller pages than it was asked for
is(try_fault($list,
		{ %{ answer(200, { results => [ map { { document_id => "d$_" } } 1 .. 10 ], pagination => { page_size => 10 } }) }, count => 2 },
		answer(200, { results => [ { document_id => 'last' } ], pagination => { page_size => 10 } }))->{answer},
	'21', 'smaller pages are followed by others');

# At most one POST a call, on a connection that is kept alive, where libcurl would try again.
# psql's one session makes all three requests.
foreach my $kind ('reset_before', 'reset_after')
{
	$api->reset(documents => JSON::PP::true, faults => JSON::PP::true);
	$api->faults({ kind => $kind, method => 'POST', after => 1 });
	my $try = "SELECT try(\$\$$create\$\$) ->> 'sqlstate'";
	is(sql("$try; $try"), "00000\n08006", "$kind on a kept-alive connection");
	my @posts = grep { $_->{method} eq 'POST' } @{ $api->requests };
	is(scalar(@posts), 2, '... is one request on the wire');
	is($api->stats->{duplicates} + $api->stats->{documents}, $kind eq 'reset_after' ? 2 : 1, '... and no more documents');

	$api->reset(faults => JSON::PP::true);
	my $id = sql("$create ->> 'document_id'");
	$api->faults({ kind => $kind, method => 'GET', after => 1, count => 1 });
	is(sql("SELECT mixpeek.get_document('c', '$id') ->> 'document_id'; SELECT mixpeek.get_document('c', '$id') ->> 'document_id'"),
		"$id\n$id", '... but a GET is tried again');
	$api->faults();
}
$api->reset(documents => JSON::PP::true);
sql(join(';', ($create) x 50));
cmp_ok($api->stats->{creates}, '==', 50, 'fifty requests of a session');
cmp_ok($api->stats->{connections}, '<=', 5, '... share a connection');

# A server that comes back
my $session = $node->background_psql('postgres', on_error_stop => 0);
$session->query("$create \\g /dev/null");
$api->stop;
like(try($create)->{detail}, qr/refused/, 'a server that is down');
$api->start;
like($session->query("$create ->> 'document_id'"), qr/^\S+$/, 'a kept connection that the server has closed is not used');

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
	wait_for('the session to be free', sub { sql("SELECT 1 FROM pg_stat_activity WHERE pid = $pid AND state = 'idle'") });
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
ok(wait_for('the session to wait', sub { sql("SELECT wait_event_type FROM pg_stat_activity WHERE pid = $pid") eq 'Extension' }),
	'a session that waits says so');
is(sql("SELECT count(*) FROM pg_stat_activity a WHERE pid = $pid AND a::text ~ '$key'"), '0', '... and not the key');
sql("SELECT pg_cancel_backend($pid)");
wait_until_idle();
wait_for('the server to notice', sub { $api->stats->{in_flight} == 0 });
my $before = $descriptors->();
my ($fastest) = sort { $a <=> $b } map { $cancel->() } 1 .. 10;
cmp_ok($fastest, '<', 0.5, 'a cancel ends the wait at once');
is($descriptors->(), $before, '... and leaves no descriptor behind');
$api->faults();
like($session->query("$create ->> 'document_id'"), qr/^\S+$/, '... and the session can go on');
$session->quit;
$api->faults({ kind => 'hang' });
my $start = time();
is(try($create, "SET statement_timeout = '300ms';")->{sqlstate}, '57014', 'statement_timeout');
cmp_ok(time() - $start, '<', 5, '... long before request_timeout');
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
	is($result->{sqlstate}, $name eq 'good' ? '00000' : '08004', "certificate of the $name host");
	$result = try("SELECT mixpeek.create_document('c', server => 'unknown_$name')");
	is($result->{sqlstate}, '08004', '... of an unknown authority');
	isnt($result->{detail}, '', '... is explained');
	is($tls->stats->{requests}, $name eq 'good' ? 1 : 0, '... before anything is sent');
	$tls->stop;
}

# Other encodings

sql("CREATE DATABASE latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
sql('CREATE EXTENSION mixpeek_docs', 'latin1');
create_server($node, 'mixpeek', $api, database => 'latin1');
$api->reset(documents => JSON::PP::true);
my $id = sql(q{SELECT mixpeek.create_document(U&'c\00fc', metadata => jsonb_build_object('name', U&'\00dc')) ->> 'document_id'}, 'latin1');
is($api->documents('c%C3%BC')->[0]{metadata}{name}, "\x{dc}", 'a LATIN1 database sends UTF-8');
is(sql(qq{SELECT ascii(mixpeek.get_document(U&'c\\00fc', '$id') #>> '{metadata,name}')}, 'latin1'), 0xdc, '... and reads it');
sql(qq{SELECT mixpeek.update_document(U&'c\\00fc', '$id', '{"metadata": {"name": "\\ud83d\\ude00"}}')});
is(sql(qq{SELECT ascii(mixpeek.get_document(U&'c\\00fc', '$id') #>> '{metadata,name}')}), 0x1f600, 'a text that LATIN1 does not have');
my ($rc, $out, $err) = $node->psql('latin1', "\\set VERBOSITY sqlstate\nSELECT mixpeek.get_document(U&'c\\00fc', '$id')");
like($err, qr/ERROR:\s+08P01/, '... is an error there');

# The key

sql('CREATE SERVER bare FOREIGN DATA WRAPPER mixpeek_docs');
($rc, $out, $err) = $node->psql('postgres', qq{
	CREATE SERVER leaky FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (api_key '$key');
	CREATE USER MAPPING FOR CURRENT_USER SERVER bare OPTIONS (api_key '$key x');
	CREATE USER MAPPING FOR CURRENT_USER SERVER bare OPTIONS (api_key '$key', oops 'x');
	CREATE USER MAPPING FOR CURRENT_USER SERVER bare OPTIONS (apikey '$key')}, on_error_stop => 0);
is(scalar(() = $err =~ /ERROR:/g), 4, 'wrong options are errors');
unlike($err, qr/$key/, '... that do not show the key');
$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/DEBUG: /, 'the log has everything');
ok(index($log, $key) < 0, '... but the key');

done_testing();
