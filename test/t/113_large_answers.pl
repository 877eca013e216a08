# Large answers, many at a time: what they cost the worker in memory, and others in time.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use MixpeekTest;
use MixpeekTest::Answers;
use MixpeekTest::Mirror;

my $node = answers_node();
my $key = $MixpeekTest::Answers::key;
my $mb = 1024 * 1024;
my $worker = wait_for('the worker', \&worker_pid);
my $offset;

# Sixteen answers of 64 MB at once, of several kinds, and a row of another server meanwhile

table_on('bystander', api => { enrich => 'now' });
sql("INSERT INTO bystander VALUES ('warm')");
wait_for_states('bystander', 'mirrored');
my %large = (
	'that say how long they are' => { bytes => 64 * $mb },
	'that do not' => { bytes => 64 * $mb, chunked => JSON::PP::true },
	'that are just not too large' => { bytes => 31 * $mb, chunked => JSON::PP::true,
		start => '{"document_id":"x","enrichments":{"x":[', unit => '0,', end => '1]}}' },
	'with enrichments that are just not too large' => { bytes => $mb,
		start => '{"document_id":"x","enrichments":{"x":"', end => '"}}' });
# In MB; the address sanitizer keeps what was freed.
my $some = defined $ENV{ASAN_OPTIONS} ? 256 : 128;
my $n = 0;
foreach my $name (sort keys %large)
{
	my $table = 'large' . ++$n;
	table_on($table, max_connections => '16');
	api($table)->faults({ kind => 'huge', method => 'POST', %{ $large{$name} } });
	sql("INSERT INTO $table VALUES ('first')");
	wait_for_states($table, $name =~ /just/ ? 'mirrored' : 'failed');
	my $before = memory($worker, 'RssAnon');
	forget_peak($worker);
	sql("INSERT INTO $table SELECT n FROM generate_series(1, 48) n");
	wait_for('the first answers', sub { api($table)->stats->{fault_kinds}{huge} > 1 });
	my $start = time();
	sql("UPDATE bystander SET v = '$table' WHERE id = 'warm'; INSERT INTO bystander VALUES ('$table')");
	wait_for('the bystander', sub { record('bystander', $table)->{state} // '' eq 'mirrored' });
	my $waited = time() - $start;
	wait_for_states($table, $name =~ /just/ ? 'mirrored' : 'failed');
	my $grown = memory($worker, 'VmHWM') - $before;
	note(sprintf('%s: +%.0f MB, another waited %.2f s', $name, $grown, $waited));
	cmp_ok($grown, '<', $some, "large answers $name: the worker grows by less than $some MB");
	cmp_ok($waited, '<', 10, "large answers $name: a row of another server waits less than 10 s");
	is(worker_pid(), $worker, "large answers $name: the worker is not replaced");
	finish($table);
}

# A look-up's list of a hundred documents, each with large enrichments

table_on('list', api => { enrich => 'never' });
api('list')->faults({ kind => 'status_after', status => 500, method => 'POST', path => '/collections/list/documents' });
sql('INSERT INTO list SELECT n FROM generate_series(1, 100) n');
wait_for_states('list', 'failed');
my $origin = sql('SELECT id FROM mixpeek.origin');
my $much = 'y' x 120_000;
my $answer = '{"results":[' . join(',',
	map {
		qq({"document_id":"d$_","metadata":{"mixpeek_docs":"$origin:public.list:$_"},"enrichments":{"a":"$much"}})
	} 1 .. 100) . ']}';
api('list')->faults({ kind => 'status', status => 200, method => 'POST', path => '/documents/list',
	answer => $answer }, { kind => 'status', status => 200, answer => '{"document_id":"new"}' });
undef $answer;
my $before = memory($worker, 'RssAnon');
forget_peak($worker);
sql(q{SELECT mixpeek.retry('list')});
wait_for('all to be found', sub {
	sql(q{SELECT count(*) FROM mixpeek.documents WHERE document_id = 'd' || key
		AND octet_length(enrichments::text) > 120000}) eq '100';
});
cmp_ok(memory($worker, 'VmHWM') - $before, '<', $some,
	"a list of a hundred large documents: the worker grows by less than $some MB");
is(sql(q{SELECT count(*) FROM mixpeek.documents WHERE relation = 'list'::regclass AND state = 'mirrored'
	AND last_error IS NULL}), '100', 'a list of a hundred large documents: all are mirrored');
finish('list');


# Large answers that use up the memory for answers and do not end

api('bystander')->faults({ kind => 'huge', method => 'POST', bytes => 6 * $mb,
	start => '{"document_id":"x","metadata":"' });
table_on('hog', max_connections => '30', request_timeout => '3600');
api('hog')->faults({ kind => 'huge', method => 'POST', bytes => 30 * $mb, chunked => JSON::PP::true,
	stall => 20 * $mb, ms => 3_000_000 });
sql('INSERT INTO hog SELECT n FROM generate_series(1, 30) n');
wait_for('them to come', sub { (api('hog')->stats->{fault_kinds}{huge} // 0) >= 4 });
my $start = time();
$offset = -s $node->logfile;
sql("INSERT INTO bystander VALUES ('behind')");
wait_for('another large answer', sub { (record('bystander', 'behind')->{state} // '') eq 'mirrored' });
note(sprintf('an answer of 6 MB waited %.2f s', time() - $start));
cmp_ok(time() - $start, '<', 30, 'large answers that do not end: another large answer is read within 30 s');
is(log_lines(qr/is not usable/, $offset), 0, 'large answers that do not end: no server counts as down');
sql('DROP TABLE hog');
api('hog')->stop;
wait_for('its requests to end', sub {
	sql(q{SELECT count(*) FROM mixpeek.documents WHERE key = 'behind' AND document_id = 'x'}) eq '1';
});
finish('bystander');

$node->stop;

done_testing();
