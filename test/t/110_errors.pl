# What the API can put into its errors: the key that it was sent, control characters, texts without end.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use MixpeekTest;
use MixpeekTest::Answers;
use MixpeekTest::Mirror;

my $node = answers_node();
my $key = $MixpeekTest::Answers::key;
my $mb = 1024 * 1024;
table_on('answers');

# The API sends the key back

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
	my $document = answered('answers', "18 $how", status => 400,
		answer => qq({"error":{"type":"$echoes{$how}","message":"you sent $echoes{$how}"}}));
	unlike($document->{last_error}, qr/SECRET|%53ECRET|live.*KEY/,
		"the key in an error, $how: last_error does not have it");
	like($document->{last_error}, qr/^Mixpeek API refused the request: 400 .*\*\*\*.*: you sent .*\*\*\*/s,
		"the key in an error, $how: last_error has asterisks instead");
	my $kept = answered('answers', "18e $how",
		answer => qq({"document_id":"e","enrichments":{"echo":"$echoes{$how}"}}));
	is(sql("SELECT count(*) FROM mixpeek.documents WHERE key = " . quoted("18e $how")
		. " AND enrichments->>'echo' LIKE '%***%' AND enrichments::text !~ 'SECRET'"),
		1, "the key in enrichments, $how: they have asterisks instead");
	api('answers')->faults({ kind => 'status', status => 403,
		answer => qq({"error":{"type":"$echoes{$how}","message":"$echoes{$how}"}}) });
	my $error = error_of("SELECT mixpeek.get_document('c', 'd', server => 'answers')");
	like($error, qr/42501.*\*\*\*/s, "the key in an error of a session, $how: it has asterisks instead")
		or diag($error);
	unlike($error, qr/SECRET/, "the key in an error of a session, $how: it does not have the key");
	api('answers')->faults();
}
is(answered('answers', '18 raw', status => 500, answer => "not JSON: $key")->{last_error},
	'Mixpeek API failed: 500: not JSON: ' . '*' x length($key),
	'the key in an excerpt of an answer that is not JSON: asterisks instead');
wait_for('the log line', sub { log_lines(qr/documents? failed: Mixpeek API refused the request: 400$/, $offset) });
is(log_lines(qr/LOG: .*(\*\*\*|you sent)/, $offset), 0, 'the log has no words of the API');
is(log_lines(qr/SECRET/, $offset), 0, 'the log does not have the key')
	or diag(join("\n", map { substr($_, 0, 300) } grep { /SECRET/ } split(/\n/, slurp_file($node->logfile, $offset))));

# Control characters that a terminal would act upon

my $controls = '"\u009b31m \u202eevil\u2066\u2069\u200e\u200f\u061c\u0085\u2028\ufeff\u0007end"';
$offset = -s $node->logfile;
my $said = answered('answers', '30', status => 401 + 1, answer => qq({"error":{"type":$controls,"message":$controls}}));
unlike($said->{last_error},
	qr/[\x00-\x1f\x7f-\x9f\x{202a}-\x{202e}\x{2066}-\x{2069}\x{200e}\x{200f}\x{61c}\x{2028}\x{feff}]/,
	'control characters are removed from an error');
like($said->{last_error}, qr/31m evil.*end: 31m evil.*end$/,
	'control characters are removed from an error, and its text is left');
$said = answered('answers', '30 excerpt', status => 402, answer => "\x{9b}31m \x{202e}no JSON \x{e9}");
is($said->{last_error}, "Mixpeek API refused the request: 402: 31m no JSON \x{e9}",
	'control characters are removed from an excerpt of an answer that is not JSON');
is(log_lines(qr/\xc2\x9b|\xe2\x80\xae/, $offset), 0, 'control characters of answers are not in the log');

# Errors without a limit of their length

my $numbers = join(',', ('1e131071') x 200);
$said = answered('answers', 'D11', status => 422, answer => qq({"detail":[{"loc":["body",$numbers],"msg":"no"}]}));
cmp_ok(length($said->{last_error}), '<=', 2000,
	'200 long numbers in the path of an error: last_error has at most 2,000 characters');
$said = answered('answers', 'D11 one', status => 422, answer => '{"detail":[{"loc":["body",1e131071],"msg":"no"}]}');
cmp_ok(length($said->{last_error}), '<=', 500,
	'a long number in the path of an error: last_error has at most 500 characters');
like($said->{last_error}, qr/422 ValidationError: body\.10{50,100}\.\.\.: no$/,
	'a long number in the path of an error: its beginning is shown');
my $texts = join(',', (qq({"loc":[@{[ join(',', ('"' . 'x' x 200 . '"') x 30) ]}],"msg":"@{[ 'y' x 5000 ]}"})) x 10);
$said = answered('answers', 'D11 many', status => 422, answer => qq({"detail":[$texts]}));
cmp_ok(length($said->{last_error}), '<=', 2000, 'many errors with long parts: last_error has at most 2,000 characters');
$said = answered('answers', 'D11 huge', kind => 'huge', bytes => 20 * $mb, start => '{"error":{"message":"',
	end => '"}}');
cmp_ok(length($said->{last_error}), '<=', 2000, 'an error of 20 MB: last_error has at most 2,000 characters');

# The request's id and the error's code

my $error = '{"success":false,"status":422,"error":{"type":"ValidationError","code":"extra_forbidden","message":"no"}}';
foreach my $header (qw(X-Request-Id x-trace-id Request-Id))
{
	is(answered('answers', "id in $header", status => 422, answer => $error, headers => { $header => 'req_7-a' })->{last_error},
		"Mixpeek API refused the request: 422 ValidationError (extra_forbidden): no\nThe API's id of the request is req_7-a",
		"last_error has the error's code, and the request's id of $header");
}
is(answered('answers', 'id alone', status => 422, answer => '', headers => { 'X-Request-Id' => 'req_8' })->{last_error},
	"Mixpeek API refused the request: 422: The API's id of the request is req_8", 'an answer without a body: last_error has the id');
foreach my $odd ('two words', "b\xc3\xa9", 'x' x 101)
{
	unlike(answered('answers', "odd id $odd", status => 422, answer => $error, headers => { 'X-Request-Id' => $odd })->{last_error},
		qr/id of the request/, 'a request id that is none is left out: ' . length($odd) . ' bytes');
}
unlike(answered('answers', 'key as id', status => 422, answer => '', headers => { 'X-Request-Id' => $key })->{last_error},
	qr/SECRET/, 'a request id that is the API key is not shown');

# Errors and enrichments in a database with another encoding

$node->safe_psql('postgres', "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
$node->safe_psql('latin', 'CREATE EXTENSION mixpeek_docs');
my $latin = MixpeekTest::Server->new(api_key => $key);
create_server($node, 'latin', $latin, api_key => $key, database => 'latin');
$node->safe_psql('latin', qq{SET client_encoding = 'UTF8'; CREATE TABLE latin (id text PRIMARY KEY);
	SELECT mixpeek.mirror('latin', 'latin', '{"metadata": {"id": "\$id"}, "caf\xc3\xa9": "\$id"}', server => 'latin',
		backfill => false)});
$latin->faults({ kind => 'status', status => 200, method => 'POST', body => '"kept"',
	answer => qq({"document_id":"k\\u00e9y","caf\\u00e9":"sent","caf\x{e9}":"sent","th\x{e9}":"\\u00e9\x{e9}"}) },
	{ kind => 'status', status => 400, method => 'POST', body => '"refused"',
		answer => qq({"error":{"message":"\x{e9}\x{9b}31m\\u0085\\u009b end $json_key"}}) });
$node->safe_psql('latin', q{INSERT INTO latin VALUES ('kept'), ('refused')});
is($node->safe_psql('latin', q{SELECT mixpeek.wait('60 s')}), 't', 'LATIN1 database: wait() returns true');
sub latin
{
	return $node->safe_psql('latin', "SET client_encoding = 'UTF8'; SELECT $_[0] FROM mixpeek.documents
		WHERE key = '$_[1]'");
}
is(latin('document_id || enrichments::text', 'kept'), qq(k\xc3\xa9y{"th\xc3\xa9": "\xc3\xa9\xc3\xa9"}),
	'LATIN1 database: fields that were sent are no enrichments, others are');
is(latin('last_error', 'refused'), "Mixpeek API refused the request: 400: \xc3\xa931m end " . '*' x length($json_key),
	'LATIN1 database: errors are cleaned');
$latin->stop;
$node->stop;

done_testing();
