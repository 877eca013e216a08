# The README's SQL, as somebody types it who follows it from top to bottom: every statement works, and after the
# five minutes the rows have their documents.
use strict;
use warnings;
use MixpeekTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $api = MixpeekTest::Server->new(api_key => 'sk_readme', enrich => 'now');
my $base_url = $api->url;
my $node = mixpeek_node('main', "shared_preload_libraries = 'mixpeek_docs'");

$node->safe_psql('postgres', 'DROP EXTENSION mixpeek_docs; CREATE ROLE app LOGIN; GRANT
	CREATE ON SCHEMA public TO app');

my @blocks = slurp_file('README.md') =~ /^```sql\n(.*?)^```/msg;
my ($first, @others) = @blocks;
my $last = pop(@others);
like($first, qr/^CREATE EXTENSION/, 'the README begins with the extension');
like($last, qr/^DROP EXTENSION/, 'the README ends with its removal');

# The local server stands in for the API.
$first =~ s/(OPTIONS \(namespace 'netflix_prod')/$1, base_url '$base_url'/;
$first =~ s/sk_…|sk_\xe2\x80\xa6/sk_readme/;

# run(WHO, STATEMENTS): what psql says to them
sub run
{
	my ($user, $statements) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', $statements,
		on_error_stop => 1, extra_params => [ '-U', $user, '-v', 'VERBOSITY=terse' ]);

	return $rc == 0 ? $out : "failed: $err";
}

my ($superuser) = $node->safe_psql('postgres', 'SELECT current_user');
unlike(run($superuser, $first), qr/failed/, 'a superuser sets it up');
my $mirrored = run('app', shift @others);
my @lines = grep { /\|/ } split(/\n/, $mirrored);
is_deeply([ map { s/doc_\w+/ID/r } @lines ], [ '1|mirrored|ID|', '2|mirrored|ID|' ],
	'after five minutes the rows have their documents')
  or diag($mirrored);
foreach my $block (@others)
{
	my ($begin) = $block =~ /^(.*)/;
	unlike(run('app', "$block\nSELECT mixpeek.wait('1 minute')"), qr/failed/, "the table's owner runs: $begin");
}
is(run('app', "SELECT count(*) FROM mixpeek.documents WHERE state <> 'mirrored'"), 0,
	'every document is mirrored in the end');
is(run('app', 'SELECT count(*) FROM products WHERE doc_id IS NOT NULL AND enrichments IS NOT NULL'), 2,
	'the rows have ids and enrichments written back');
unlike(run($superuser, $last), qr/failed/, 'the extension is removed');
is($node->safe_psql('postgres', 'SELECT count(*) FROM products'), 2, 'the table stays');

$node->stop;
done_testing();
