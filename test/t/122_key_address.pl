# A user mapping's base_url: the only address to which its key may be sent.
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

sql(q{CREATE ROLE thief LOGIN; CREATE ROLE victim LOGIN; GRANT USAGE ON FOREIGN DATA WRAPPER mixpeek_docs TO thief});
my $thief_api = MixpeekTest::Server->new(api_key => 'sk_of_the_victim', record => 1);
my $api_url = $thief_api->url;
sub as { my ($role, $statements) = @_; return "SET SESSION AUTHORIZATION $role; $statements"; }
sql(as('thief', "CREATE SERVER trap FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (base_url '$api_url');
	GRANT USAGE ON FOREIGN SERVER trap TO victim"));
sql(as('victim', "CREATE USER MAPPING FOR victim SERVER trap OPTIONS (api_key 'sk_of_the_victim',
	base_url '$api_url/')"));
my $victim_get = as('victim', q{SELECT mixpeek.get_document('c', 'd', server => 'trap')});
like(error_of($victim_get), qr/P0002/, 'a mapping with base_url: its key is sent there');
sql(as('thief', "ALTER SERVER trap OPTIONS (SET base_url 'http://127.0.0.1:1')"));
like(error_of($victim_get),
	qr/42501: the API key for server "trap" may not be sent to "http:..127.0.0.1:1".*base_url is "$api_url".*HINT/s,
	'a mapping with base_url: its key is sent nowhere else');
foreach my $change ("DROP base_url", "SET base_url 'http://127.0.0.1:1'")
{
	like(error_of(as('thief', "ALTER USER MAPPING FOR victim SERVER trap OPTIONS ($change)")),
		qr/42501: permission denied to change the option "base_url" of another user's mapping/,
		"a mapping with base_url: the server's owner may not $change");
}
like(error_of($victim_get), qr/42501/, 'a mapping with base_url: nothing is changed by what was refused');
is(error_of(as('victim', "ALTER USER MAPPING FOR victim SERVER trap OPTIONS (SET base_url 'http://127.0.0.1:1')")),
	'no error', 'a mapping with base_url: its user may change it');
like(error_of($victim_get), qr/08001/, 'a mapping with base_url: a change takes effect at once');
is(error_of(as('victim', "ALTER USER MAPPING FOR victim SERVER trap OPTIONS (DROP base_url)")), 'no error',
	'a mapping with base_url: its user may drop it');
sql('GRANT CREATE ON SCHEMA public TO victim');
sql(as('victim', "CREATE TABLE pinned (id int PRIMARY KEY); SELECT mixpeek.mirror('pinned', 'c', server => 'trap',
	backfill => false);
	ALTER USER MAPPING FOR victim SERVER trap OPTIONS (ADD base_url 'https://api.mixpeek.com'); INSERT INTO pinned
		VALUES (1)"));
wait_for_states('pinned', 'pending');
like(record('pinned', '1')->{last_error}, qr/the API key for server "trap" may not be sent to/,
	'a mapping with base_url: rows for another address are pending, with the reason');
sql('DROP TABLE pinned');
$thief_api->stop;

$node->stop;

done_testing();
